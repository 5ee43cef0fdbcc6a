/** A peer that says what RFC 10069 allows, far too often: answers stay smaller than questions, and nothing grows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import { forgedPair, frameBytes, transfer } from '../testing/index.ts'
import { openPath } from '../testing/path-pair.ts'

const PACKETS = 60
const multipath = { maxPaths: 4 }

/** The n-th frame of a flood. */
type Flood = (n: number) => Uint8Array

const floods: readonly (readonly [string, Flood])[] = [
  ['PATH_STATUS_AVAILABLE and BACKUP in turn', (n) => frameBytes(FrameType.PathStatusBackup + (n % 2), 1, n + 1)],
  ['statuses of paths not open', (n) => frameBytes(FrameType.PathStatusBackup + (n % 2), 2 + (n % 2), n + 1)],
  ['MAX_PATH_ID, ever higher', (n) => frameBytes(FrameType.MaxPathId, 4 + n)],
  ['PATHS_BLOCKED', () => frameBytes(FrameType.PathsBlocked, 3)],
  ['PATH_CIDS_BLOCKED', (n) => frameBytes(FrameType.PathCidsBlocked, n % 4, 0)],
  ['PATH_ABANDON of paths not open', (n) => frameBytes(FrameType.PathAbandon, 2 + (n % 2), 0)],
  ['PATH_RETIRE_CONNECTION_ID of the first one', (n) => frameBytes(FrameType.PathRetireConnectionId, 2 + (n % 2), 0)],
  ['PATH_ACK of the same packet', () => frameBytes(FrameType.PathAck, 1, 0, 0, 0, 0)],
]

for (const side of ['client', 'server'] as const) {
  for (const [name, frameOf] of floods) {
    test(`a flood of ${name} from a ${side} is answered by less than it is, and leaves nothing behind`, () => {
      const forged = forgedPair(side, { client: multipath, server: multipath })
      const { pair } = forged
      pair.handshake()
      pair.advance(200_000)
      openPath(pair)
      pair.advance(300_000)
      const victim = side === 'client' ? pair.accepted : pair.connection
      assert.ok(victim !== undefined)
      const bytes = { client: 0, server: 0 }
      pair.filter = (datagram) => {
        bytes[datagram.from] += datagram.bytes.length
        return true
      }
      let n = 0
      for (let packet = 0; packet < PACKETS; packet++) {
        const frames: number[] = []
        while (frames.length < 1_100) frames.push(...frameOf(n++))
        forged.say(Uint8Array.from(frames))
        pair.advance(2_000)
      }
      pair.advance(200_000)
      assert.equal(victim.isClosed, false)
      const answered = bytes[side === 'client' ? 'server' : 'client']
      assert.ok(answered < bytes[side] / 2, `${answered} bytes for ${bytes[side]}`)
      const { multipath: paths } = victim.core
      assert.ok(paths.registries.size <= 6, `${paths.registries.size} path IDs`)
      for (const registry of paths.registries.values())
        assert.ok(registry.local.length <= 8 && registry.spare.length <= 8)
      assert.equal(paths.hasPending(), false)
      pair.filter = () => true
      const transfers = [transfer(pair, 'server', 200_000), transfer(pair, 'client', 200_000)]
      pair.run(() => transfers.every((each) => each.isDone()))
    })
  }
}
