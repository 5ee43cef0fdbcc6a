/** Cases in which noq is the client and QuicEther the server: noq opens the paths. */
import assert from 'node:assert/strict'
import type { ConnectionEvent } from '@quicether/transport'
import { type Impairments, LossyProxy } from '../lossy-proxy.ts'
import type { MultipathCase } from './case.ts'
import { STRAY_FRAMES_MAX } from './client-cases.ts'
import { MIB } from './limits.ts'
import { type NoqFacts, noqPath, runNoqClient } from './noq-peer.ts'
import { type OurServer, startOurServer } from './ours.ts'

interface Ending {
  /** noq's facts after a step. */
  readonly after: (step: string) => NoqFacts
  readonly events: readonly ConnectionEvent[]
  readonly keyUpdates: number
}

/** Lets a noq client take its steps against a server of ours, then judges. */
function steps(
  taken: readonly string[],
  judge: (ending: Ending) => string,
  impairments?: Impairments,
): MultipathCase['run'] {
  return async ({ files, logFile, qlogs }) => {
    const server: OurServer = await startOurServer(files, qlogs.ours)
    const proxy = impairments && (await LossyProxy.open('127.0.0.1', server.port, impairments))
    try {
      const facts = await runNoqClient(`127.0.0.1:${proxy?.port ?? server.port}`, files, taken, logFile)
      const [only] = server.connections
      assert.ok(only !== undefined && server.connections.length === 1, 'one connection came')
      const reason = await only.connection.closed
      assert.ok(reason.kind === 'application' && reason.code === 0, `closed: ${JSON.stringify(reason)}`)
      const { keyUpdates } = only.connection.stats()
      const after = (step: string): NoqFacts => facts.get(step) ?? assert.fail(`no step ${step}`)
      return judge({ after, events: only.streams.events, keyUpdates })
    } finally {
      proxy?.close()
      await server.close()
    }
  }
}

const changes = (events: readonly ConnectionEvent[], id: number): string[] =>
  events.flatMap((event) => (event.kind === 'path' && event.path === id ? [event.change] : []))

function assertBothUsed(
  facts: NoqFacts,
  ids: readonly number[],
  what: 'streamFramesSent' | 'streamFramesReceived',
): void {
  for (const id of ids) {
    const count = noqPath(facts, id)[what]
    assert.ok(count > 10, `${what} on path ${id}: ${count}`)
  }
}

const share = (facts: NoqFacts, what: 'bytesSent' | 'bytesReceived'): string =>
  facts.paths.map((path) => `${path[what]} bytes on path ${path.id}`).join(', ')

const bothWays = [`open:127.0.0.2`, `echo:${4 * MIB}`, 'status:0:backup', `echo:${2 * MIB}`]
const pair = 'noq → quicether'

export const serverCases: readonly MultipathCase[] = [
  {
    name: 'two-paths',
    pair,
    proves: 'two paths opened by the client carry data both ways',
    run: steps(bothWays, ({ after, events }) => {
      const shared = after(`echo:${4 * MIB}`)
      assert.equal(shared.multipath, true)
      assertBothUsed(shared, [0, 1], 'streamFramesReceived')
      const end = after(`echo:${2 * MIB}`)
      assertBothUsed(end, [0, 1], 'streamFramesSent')
      for (const id of [0, 1]) assert.ok(noqPath(end, id).pathAcksReceived > 0, `PATH_ACKs for path ${id} reached noq`)
      assert.ok(changes(events, 1).includes('validated'), `our events of path 1: ${changes(events, 1).join(', ')}`)
      assert.ok(changes(events, 0).includes('status'), `our events of path 0: ${changes(events, 0).join(', ')}`)
      return `noq received ${share(shared, 'bytesReceived')}; sent ${share(end, 'bytesSent')}`
    }),
  },
  {
    name: 'second-address',
    pair,
    proves: 'the second path leads to another address of the server',
    run: steps([`open:127.0.0.3:127.0.0.2`, `echo:${4 * MIB}`], ({ after }) => {
      const end = after(`echo:${4 * MIB}`)
      assertBothUsed(end, [0, 1], 'streamFramesReceived')
      return `noq received ${share(end, 'bytesReceived')}`
    }),
  },
  {
    name: 'abandon',
    pair,
    proves: 'the client abandons a path and opens another',
    run: steps(
      ['open:127.0.0.2', `echo:${MIB}`, 'close:1', `echo:${2 * MIB}`, 'open:127.0.0.3', `echo:${4 * MIB}`],
      ({ after, events }) => {
        assert.ok(changes(events, 1).includes('abandoned'), `our events of path 1: ${changes(events, 1).join(', ')}`)
        const end = after(`echo:${4 * MIB}`)
        assert.ok(
          end.paths.some((path) => path.abandonsReceived > 0),
          'our answer, PATH_ABANDON, reached noq',
        )
        assertBothUsed(end, [2], 'streamFramesReceived')
        return `events of path 1: ${changes(events, 1).join(', ')}`
      },
    ),
  },
  {
    name: 'peer-abandons',
    pair,
    proves: 'the server abandons a path in use',
    run: steps(['open:127.0.0.2', `echo:${MIB}`, 'remote-close:1', `echo:${2 * MIB}`], ({ after }) => {
      const { events } = after(`echo:${2 * MIB}`)
      assert.ok(
        events.some((event) => event.startsWith('abandoned 1 RemoteAbandoned')),
        `noq's events: ${events.join(', ')}`,
      )
      return `noq's events: ${events.join(', ')}`
    }),
  },
  {
    name: 'peer-status',
    pair,
    proves: 'the server calls a path a backup: it sends nothing there',
    run: steps(['open:127.0.0.2', `echo:${MIB}`, 'remote-status:1:backup', `echo:${2 * MIB}`], ({ after }) => {
      const { events } = after(`echo:${2 * MIB}`)
      assert.ok(events.includes('remote-status 1 Backup'), `noq's events: ${events.join(', ')}`)
      const [before, end] = ['remote-status:1:backup', `echo:${2 * MIB}`].map((step) => noqPath(after(step), 1))
      const frames = (end?.streamFramesReceived ?? 0) - (before?.streamFramesReceived ?? 0)
      assert.ok(frames < STRAY_FRAMES_MAX, `${frames} STREAM frames came over the backup path`)
      return `${frames} STREAM frames on the backup path beside 2 MiB`
    }),
  },
  {
    name: 'status',
    pair,
    proves: 'the client calls a path a backup: we send nothing there',
    run: steps(
      ['open:127.0.0.2', `echo:${MIB}`, 'status:1:backup', 'echo:100000', `echo:${2 * MIB}`],
      ({ after, events }) => {
        assert.ok(changes(events, 1).includes('status'), `our events of path 1: ${changes(events, 1).join(', ')}`)
        const [before, end] = ['echo:100000', `echo:${2 * MIB}`].map((step) => noqPath(after(step), 1))
        const frames = (end?.streamFramesReceived ?? 0) - (before?.streamFramesReceived ?? 0)
        assert.ok(frames < STRAY_FRAMES_MAX, `${frames} STREAM frames of ours went over the backup path`)
        return `${frames} STREAM frames of ours on the backup path beside 2 MiB`
      },
    ),
  },
  {
    name: 'rebinding',
    pair,
    proves: 'a NAT gives both paths new ports, twice in the middle of a transfer',
    run: steps(
      ['open:127.0.0.2', `echo:${4 * MIB}`, 'status:0:backup', `echo:${2 * MIB}`],
      ({ after, events }) => {
        const end = after(`echo:${2 * MIB}`)
        assertBothUsed(end, [0, 1], 'streamFramesReceived')
        assertBothUsed(end, [0, 1], 'streamFramesSent')
        const seen = [0, 1].map((id) => changes(events, id).filter((change) => change === 'rebound').length)
        return `${seen.join(' and ')} rebindings seen on paths 0 and 1; noq received ${share(end, 'bytesReceived')}`
      },
      { rebindAfterBytes: [2 * MIB, 5 * MIB] },
    ),
  },
  {
    name: 'first-path',
    pair,
    proves: 'the path of the handshake is abandoned, the other goes on',
    run: steps(['open:127.0.0.2', 'close:0', `echo:${2 * MIB}`], ({ after, events }) => {
      assert.ok(changes(events, 0).includes('abandoned'))
      const end = after(`echo:${2 * MIB}`)
      assertBothUsed(end, [1], 'streamFramesReceived')
      assertBothUsed(end, [1], 'streamFramesSent')
      return `noq sent ${share(end, 'bytesSent')}`
    }),
  },
  {
    name: 'keys',
    pair,
    proves: 'the client updates its keys with three paths open',
    run: steps(
      ['open:127.0.0.2', 'open:127.0.0.3', `echo:${MIB}`, 'key-update', `echo:${4 * MIB}`],
      ({ after, keyUpdates }) => {
        // noq updates once more by itself, at random within its first 1000 packets.
        assert.ok(keyUpdates === 1 || keyUpdates === 2, `${keyUpdates} key updates`)
        assertBothUsed(after(`echo:${4 * MIB}`), [0, 1, 2], 'streamFramesReceived')
        return `${keyUpdates} of noq with three paths`
      },
    ),
  },
]
