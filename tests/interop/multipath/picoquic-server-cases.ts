/** Cases in which picoquic is the client and QuicEther the server: picoquic opens the paths. */
import assert from 'node:assert/strict'
import type { ConnectionEvent } from '@quicether/transport'
import type { MultipathCase } from './case.ts'
import { MIB, QUIET_BYTES_MAX } from './limits.ts'
import { startOurServer } from './ours.ts'
import { assertCarried, type BothLogs } from './picoquic-client-cases.ts'
import { type PicoquicFacts, picoquicPath, runPicoquicClient } from './picoquic-peer.ts'
import { readFrames } from './qlog-frames.ts'

interface Ending extends BothLogs {
  /** picoquic's facts after a step. */
  readonly after: (step: string) => PicoquicFacts
  readonly events: readonly ConnectionEvent[]
  readonly keyUpdates: number
}

/** Lets a picoquic client take its steps against a server of ours, then judges. */
function steps(taken: readonly string[], judge: (ending: Ending) => string): MultipathCase['run'] {
  return async ({ files, logFile, qlogs, onLogs }) => {
    const server = await startOurServer(files, qlogs.ours)
    let ending: Omit<Ending, 'ours' | 'theirs'>
    try {
      const facts = await runPicoquicClient(`127.0.0.1:${server.port}`, files, taken, logFile, qlogs.theirs)
      const [only] = server.connections
      assert.ok(only !== undefined && server.connections.length === 1, 'one connection came')
      const reason = await only.connection.closed
      assert.ok(reason.kind === 'application' && reason.code === 0, `closed: ${JSON.stringify(reason)}`)
      const { keyUpdates } = only.connection.stats()
      const after = (step: string): PicoquicFacts => facts.get(step) ?? assert.fail(`no step ${step}`)
      ending = { after, events: only.streams.events, keyUpdates }
    } finally {
      await server.close()
    }
    const logs = { ours: await readFrames(qlogs.ours), theirs: await readFrames(qlogs.theirs) }
    onLogs(logs)
    return judge({ ...ending, ...logs })
  }
}

const changes = (events: readonly ConnectionEvent[], id: number): string[] =>
  events.flatMap((event) => (event.kind === 'path' && event.path === id ? [event.change] : []))

/** STREAM frames on these paths in both directions; here picoquic's are the ones that we received. */
const carried = ({ ours, theirs }: BothLogs, paths: readonly number[]): string =>
  assertCarried({ ours: theirs, theirs: ours }, paths)

/** Bytes that picoquic received on a path between two steps; too many are an error. */
function quiet(ending: Ending, id: number, from: string, to: string): string {
  const [before, after] = [from, to].map((step) => picoquicPath(ending.after(step), id))
  const down = (after?.bytesReceived ?? 0) - (before?.bytesReceived ?? 0)
  assert.ok(down < QUIET_BYTES_MAX, `${down} bytes of ours came over path ${id}, a backup`)
  return `${down} bytes of ours on path ${id}`
}

function packetsOn({ ours }: BothLogs, paths: readonly number[]): string {
  const counts = paths.map((path) => ours.packets.filter((packet) => !packet.isSent && packet.path === path).length)
  for (const count of counts) assert.ok(count > 0, `packets of picoquic by path: ${counts.join(', ')}`)
  return `${counts.join(', ')} packets of picoquic on paths ${paths.join(', ')}`
}

const of = (name: string, proves: string, run: MultipathCase['run']): MultipathCase => ({
  name,
  pair: 'picoquic → quicether',
  proves,
  run,
})
const big = `echo:${4 * MIB}`
const middle = `echo:${2 * MIB}`
/** Both sides move to the other paths: left alone, each keeps to the first one that has room, as loopback always has. */
const firstIsBackup = 'status:0:backup'
const small = `echo:${MIB}`

export const picoquicServerCases: readonly MultipathCase[] = [
  of(
    'two-paths',
    'two paths opened by the client carry data both ways',
    steps(['open:127.0.0.2', big, firstIsBackup, middle], (ending) => {
      assert.ok(changes(ending.events, 1).includes('validated'), `our events: ${changes(ending.events, 1).join(', ')}`)
      return carried(ending, [0, 1])
    }),
  ),
  of(
    'second-address',
    'the second path leads to another address of the server',
    steps(['open:127.0.0.3:127.0.0.2', big, firstIsBackup, middle], (ending) => carried(ending, [0, 1])),
  ),
  of(
    'status',
    'what the client calls a backup carries nothing of ours',
    steps(['open:127.0.0.2', small, 'status:1:backup', 'echo:100000', middle], (ending) => {
      assert.ok(changes(ending.events, 1).includes('status'), `our events: ${changes(ending.events, 1).join(', ')}`)
      return `${quiet(ending, 1, 'echo:100000', middle)} beside 2 MiB`
    }),
  ),
  of(
    'peer-status',
    'the server calls a path a backup: neither side sends there',
    steps(['open:127.0.0.2', small, 'remote:status,1,backup', 'echo:100000', middle], (ending) => {
      const sent = ['echo:100000', middle].map((step) => picoquicPath(ending.after(step), 1).bytesSent)
      const up = (sent[1] ?? 0) - (sent[0] ?? 0)
      assert.ok(up < QUIET_BYTES_MAX, `picoquic sent ${up} bytes on the backup path`)
      return `${quiet(ending, 1, 'echo:100000', middle)}, ${up} of picoquic, beside 2 MiB`
    }),
  ),
  of(
    'abandon',
    'the client abandons a path and opens another',
    steps(
      ['open:127.0.0.2', small, 'close:1', middle, 'open:127.0.0.3', big, firstIsBackup, 'echo:2000000'],
      (ending) => {
        const seen = changes(ending.events, 1)
        assert.ok(seen.includes('abandoned'), `our events of path 1: ${seen.join(', ')}`)
        assert.ok(ending.theirs.count('received', 'path_abandon') > 0, 'our answer, PATH_ABANDON, reached picoquic')
        return `events of path 1: ${seen.join(', ')}; ${carried(ending, [0, 2])}`
      },
    ),
  ),
  of(
    'peer-abandons',
    'the server abandons a path in use',
    steps(['open:127.0.0.2', small, 'remote:close,1', middle], (ending) => {
      assert.ok(ending.ours.count('received', 'path_abandon') > 0, 'the answer of picoquic, PATH_ABANDON, reached us')
      return `picoquic's events: ${ending.after(middle).events.join(', ')}`
    }),
  ),
  of(
    'first-path',
    'the path of the handshake is abandoned, the other goes on',
    steps(['open:127.0.0.2', 'close:0', big], (ending) => {
      assert.ok(changes(ending.events, 0).includes('abandoned'))
      return carried(ending, [1])
    }),
  ),
  of(
    'keys',
    'both sides update their keys in turn with three paths open',
    steps(
      [
        'open:127.0.0.2',
        'open:127.0.0.3',
        small,
        'key-update',
        middle,
        'remote:key-update',
        'await:key-updates,2',
        big,
      ],
      (ending) => {
        assert.ok(ending.keyUpdates >= 2, `${ending.keyUpdates} key updates`)
        return `${ending.keyUpdates} key updates; ${packetsOn(ending, [0, 1, 2])}`
      },
    ),
  ),
  of(
    'rebinding',
    'a NAT gives first the second, then the first path a new port',
    steps(
      [
        'open:127.0.0.2',
        small,
        firstIsBackup,
        'rebind:127.0.0.2',
        middle,
        'status:0:available',
        'rebind:127.0.0.1',
        big,
      ],
      (ending) => {
        const challenges = [0, 1].map((path) => ending.theirs.count('received', 'path_challenge', path))
        for (const count of challenges)
          assert.ok(count > 0, `our PATH_CHALLENGE on paths 0 and 1: ${challenges.join(', ')}`)
        return `${challenges.join(' and ')} PATH_CHALLENGE of ours on paths 0 and 1; ${carried(ending, [0, 1])}`
      },
    ),
  ),
  of(
    'cids',
    'the client changes its connection IDs of both paths, again and again',
    steps(
      [
        'open:127.0.0.2',
        ...Array.from({ length: 6 }, (_, round) => [`echo:${100_000 + round}`, 'rotate:0', 'rotate:1']).flat(),
        small,
      ],
      (ending) => {
        const retired = ending.ours.count('received', 'path_retire_connection_id')
        assert.ok(retired >= 12, `${retired} PATH_RETIRE_CONNECTION_ID frames`)
        return `${retired} connection IDs retired, ${ending.ours.count('sent', 'path_new_connection_id')} given`
      },
    ),
  ),
]
