/** Cases in which QuicEther is the client and picoquic the server: we open the paths. */
import assert from 'node:assert/strict'
import { nowUs } from '@quicether/net'
import { LossyProxy } from '../lossy-proxy.ts'
import type { MultipathCase } from './case.ts'
import { MIB, QUIET_BYTES_MAX, QUIET_ROUNDS_MAX } from './limits.ts'
import { OurClient, type OurClientOptions, until } from './ours.ts'
import { type PicoquicFacts, type PicoquicServer, picoquicPath, startPicoquicServer } from './picoquic-peer.ts'
import { echoInterrupted, survivesACut } from './plays.ts'
import { type QlogFrames, readFrames } from './qlog-frames.ts'

const first = '127.0.0.1'
const second = '127.0.0.2'
const third = '127.0.0.3'
const FRAMES_MIN = 20

interface Scene {
  readonly client: OurClient
  readonly server: PicoquicServer
  /** What picoquic counts now. */
  readonly facts: () => Promise<PicoquicFacts>
}

/** What both sides logged, read after the connection has ended. */
export interface BothLogs {
  readonly ours: QlogFrames
  readonly theirs: QlogFrames
}

type Verdict = string | ((logs: BothLogs) => string)

/** Runs `play` with a connected client against a picoquic server of its own, then lets it judge both qlogs. */
function against(
  play: (scene: Scene) => Promise<Verdict>,
  options: Partial<OurClientOptions> & { readonly addresses?: readonly string[] } = {},
): MultipathCase['run'] {
  const { addresses = [first, second], ...clientOptions } = options
  return async ({ files, logFile, qlogs, onLogs }) => {
    const server = await startPicoquicServer(addresses, files, logFile, qlogs.theirs)
    let client: OurClient | undefined
    let verdict: Verdict
    try {
      client = await OurClient.connect({ port: server.port, files, qlog: qlogs.ours, ...clientOptions })
      const { streams } = client
      const facts = async (): Promise<PicoquicFacts> => JSON.parse(await streams.ask('paths')) as PicoquicFacts
      verdict = await play({ client, server, facts })
    } finally {
      await client?.close()
      await server.stop()
    }
    const logs = { ours: await readFrames(qlogs.ours), theirs: await readFrames(qlogs.theirs) }
    onLogs(logs)
    return typeof verdict === 'string' ? verdict : verdict(logs)
  }
}

/** STREAM frames travelled on all these paths in both directions, by the log of the side that received them. */
export function assertCarried({ ours, theirs }: BothLogs, paths: readonly number[]): string {
  const shares = paths.map((path) => {
    const up = theirs.count('received', 'stream', path)
    const down = ours.count('received', 'stream', path)
    assert.ok(up > FRAMES_MIN, `picoquic received ${up} STREAM frames on path ${path}`)
    assert.ok(down > FRAMES_MIN, `picoquic's STREAM frames that reached us on path ${path}: ${down}`)
    return `path ${path}: ${up} up, ${down} down`
  })
  return `STREAM frames on ${shares.join('; ')}`
}

async function bothPathsBothWays({ client }: Scene): Promise<Verdict> {
  const id = await client.openPath(second)
  assert.equal(id, 1)
  await client.streams.echo(4 * MIB)
  return (logs) => {
    const told = assertCarried(logs, [0, 1])
    for (const side of [logs.ours, logs.theirs]) {
      for (const path of [0, 1]) assert.ok(side.count('received', 'path_ack', path) > 0, `PATH_ACK on path ${path}`)
    }
    return told
  }
}

async function backupCarriesNothing({ client, facts }: Scene): Promise<Verdict> {
  const id = await client.openPath(second)
  client.connection.engine.setPathStatus(id, 'backup')
  await client.streams.echo(100_000)
  const onBackup = await quiet(facts, id, () => client.streams.echo(2 * MIB))
  client.connection.engine.setPathStatus(id, 'available')
  client.connection.engine.setPathStatus(0, 'backup')
  await client.streams.echo(100_000)
  const onFirst = await quiet(facts, 0, () => client.streams.echo(2 * MIB))
  return ({ theirs }) => {
    assert.ok(theirs.count('received', 'path_status_backup') + theirs.count('received', 'path_backup') >= 2)
    return `${onBackup} on path ${id} while it was the backup, ${onFirst} on path 0, beside 2 MiB each`
  }
}

/**
 * Bytes on a path in both directions while `act` runs; too many are an error. A busy machine delays acknowledgments beyond
 * the probe timeout, and then a backup rightly steps in: a few rounds are allowed until one is quiet.
 */
async function quiet(facts: Scene['facts'], id: number, act: () => Promise<void>): Promise<string> {
  for (let round = 1; ; round++) {
    const before = picoquicPath(await facts(), id)
    await act()
    const after = picoquicPath(await facts(), id)
    const [up, down] = [after.bytesReceived - before.bytesReceived, after.bytesSent - before.bytesSent]
    if (up < QUIET_BYTES_MAX && down < QUIET_BYTES_MAX) return `${up} bytes up and ${down} down`
    const said = `${up} bytes came to picoquic on path ${id}, a backup, and it sent ${down} there`
    assert.ok(round < QUIET_ROUNDS_MAX, said)
  }
}

async function heedsTheirStatus({ client, facts }: Scene): Promise<Verdict> {
  await client.openPath(second)
  await client.streams.ask('status 0 backup')
  await until('picoquic called path 0 a backup', () => changes(client, 0).includes('status'))
  const before = picoquicPath(await facts(), 0).bytesReceived
  await client.streams.echo(2 * MIB)
  const up = picoquicPath(await facts(), 0).bytesReceived - before
  assert.ok(up < QUIET_BYTES_MAX, `${up} bytes of ours went over path 0, which picoquic called a backup`)
  return `${up} bytes of ours on path 0 beside 2 MiB`
}

async function abandonInTheMiddle({ client, facts }: Scene): Promise<Verdict> {
  const id = await client.openPath(second)
  await echoInterrupted(client, () => client.connection.engine.closePath(id, nowUs()))
  await until('the path is forgotten', () => client.path(id) === undefined)
  const next = await client.openPath(third)
  assert.equal(next, id + 1)
  await client.streams.echo(2 * MIB)
  assert.ok((await facts()).events.includes(`deleted ${id}`), 'picoquic deleted the path')
  return (logs) => {
    assert.ok(logs.theirs.count('received', 'path_abandon') > 0, 'picoquic received PATH_ABANDON')
    assert.ok(logs.ours.count('received', 'path_abandon') > 0, 'its answer, PATH_ABANDON, reached us')
    return `path ${id} abandoned within 4 MiB; ${assertCarried(logs, [0, next])}`
  }
}

async function theyAbandon({ client, facts }: Scene): Promise<Verdict> {
  const id = await client.openPath(second)
  const echo = client.streams.echo(4 * MIB)
  await client.streams.ask(`close ${id}`)
  await echo
  await until('we saw PATH_ABANDON', () => changes(client, id).includes('abandoned'))
  await until('the path is forgotten', () => client.path(id) === undefined)
  await client.streams.echo(MIB)
  const { events } = await facts()
  return ({ theirs }) => {
    assert.ok(theirs.count('received', 'path_abandon') > 0, 'our answer, PATH_ABANDON, reached picoquic')
    return `picoquic's events: ${events.join(', ')}`
  }
}

async function firstPathGoes({ client }: Scene): Promise<Verdict> {
  const id = await client.openPath(second)
  client.connection.engine.closePath(0, nowUs())
  await client.streams.echo(2 * MIB)
  await until('path 0 is forgotten', () => client.path(0) === undefined)
  await client.streams.echo(MIB)
  return (logs) => assertCarried(logs, [id])
}

async function manyPathIds({ client }: Scene): Promise<Verdict> {
  const rounds = 12
  for (let round = 1; round <= rounds; round++) {
    const id = await client.openPath(`127.0.1.${round}`)
    assert.equal(id, round)
    await client.streams.echo(100_000)
    client.connection.engine.closePath(id, nowUs())
    await until(`path ${id} is forgotten`, () => client.path(id) === undefined)
  }
  return `${rounds} path IDs one after the other, ${client.connection.paths().length} path left`
}

async function threePathsAndKeys({ client }: Scene): Promise<Verdict> {
  await client.openPath(second)
  await client.openPath(third)
  const rounds = 2
  for (let round = 1; round <= rounds; round++) {
    client.connection.engine.updateKeys()
    await client.streams.echo(2 * MIB)
    await until(`our key update ${round}`, () => client.ownKeyUpdates >= round)
    await client.streams.ask('key-update')
    await client.streams.echo(2 * MIB)
    await until(`picoquic's key update ${round}`, () => client.connection.stats().keyUpdates >= 2 * round)
  }
  const { keyUpdates } = client.connection.stats()
  return (logs) =>
    `${client.ownKeyUpdates} key updates of ours, ${keyUpdates} in all; ${assertCarried(logs, [0, 1, 2])}`
}

async function cutInTheMiddle({ client }: Scene): Promise<Verdict> {
  return survivesACut(client, first, await client.openPath(second))
}

/** Path 1 goes through a NAT that forgets its mapping twice in the middle of a transfer; path 0 is direct. */
async function rebinding({ client, server }: Scene): Promise<Verdict> {
  const nat = await LossyProxy.open(first, server.port, {})
  try {
    const id = await client.openPath(second, first, nat.port)
    let rebinds = 0
    await client.streams.echo(6 * MIB, (back) => {
      if (back < (rebinds + 1) * 2 * MIB - MIB || rebinds === 2) return
      rebinds++
      nat.rebind()
    })
    assert.equal(rebinds, 2)
    assert.ok(client.path(id)?.isValidated, 'the path lives')
    await client.streams.echo(2 * MIB)
    return (logs) => {
      const challenges = logs.ours.count('received', 'path_challenge', id)
      assert.ok(challenges >= rebinds, `picoquic validated the new addresses: ${challenges} PATH_CHALLENGE`)
      return `${rebinds} new ports of path ${id}, ${challenges} PATH_CHALLENGE of picoquic; ${assertCarried(logs, [0, id])}`
    }
  } finally {
    nat.close()
  }
}

async function rotatesCids({ client }: Scene): Promise<Verdict> {
  const id = await client.openPath(second)
  const rounds = 6
  for (let round = 1; round <= rounds; round++) {
    await client.streams.ask(`rotate ${id}`)
    await client.streams.ask('rotate 0')
    assert.ok(client.connection.engine.rotateCid(), 'picoquic gave a spare connection ID')
    await client.streams.echo(MIB / 4)
  }
  return (logs) => {
    const retired = [0, id].map((path) => retiredFor(logs.theirs, path))
    for (const count of retired) assert.ok(count >= rounds, `picoquic retired ${retired.join(' and ')} of our IDs`)
    const ours = logs.theirs.count('received', 'path_retire_connection_id')
    assert.ok(ours >= rounds, `we retired ${ours} of picoquic's IDs`)
    return `picoquic retired ${retired.join(' and ')} connection IDs of paths 0 and ${id}, we ${ours}`
  }
}

const retiredFor = (log: QlogFrames, path: number): number =>
  log.packets.reduce(
    (sum, { isSent, frames }) =>
      sum +
      (isSent
        ? frames.filter(({ type, text }) => type === 'path_retire_connection_id' && text.includes(`path_id ${path}`))
            .length
        : 0),
    0,
  )

async function twoFamilies({ client }: Scene): Promise<Verdict> {
  const id = await client.openPath('::1', '::1')
  await client.streams.echo(4 * MIB)
  return (logs) => assertCarried(logs, [0, id])
}

async function notNegotiated({ client }: Scene): Promise<Verdict> {
  await client.streams.echo(MIB)
  assert.equal(client.connection.engine.core.multipath.isNegotiated, false)
  return '1 MiB on one path'
}

function changes(client: OurClient, id: number): string[] {
  return client.streams.events.flatMap((event) => (event.kind === 'path' && event.path === id ? [event.change] : []))
}

const of = (name: string, proves: string, run: MultipathCase['run']): MultipathCase => ({
  name,
  pair: 'quicether → picoquic',
  proves,
  run,
})

export const picoquicClientCases: readonly MultipathCase[] = [
  of('two-paths', 'two paths opened by the client carry data both ways', against(bothPathsBothWays)),
  of('status', 'what the client calls a backup carries nothing, either way round', against(backupCarriesNothing)),
  of('peer-status', 'what the peer calls a backup carries nothing of ours', against(heedsTheirStatus)),
  of(
    'abandon',
    'the client abandons a path in the middle of a transfer and opens another',
    against(abandonInTheMiddle),
  ),
  of('peer-abandons', 'the server abandons a path in the middle of a transfer', against(theyAbandon)),
  of('first-path', 'the path of the handshake is abandoned, the other goes on', against(firstPathGoes)),
  of('path-ids', 'twelve paths one after the other: MAX_PATH_ID and connection IDs keep up', against(manyPathIds)),
  of('keys', 'key updates of both sides in turn with three paths', against(threePathsAndKeys)),
  of('cut', 'the socket of the first path is gone in the middle of a transfer', against(cutInTheMiddle)),
  of('rebinding', 'a NAT gives the second path a new port twice in the middle of a transfer', against(rebinding)),
  of('cids', 'both sides change connection IDs of both paths during a transfer', against(rotatesCids)),
  of('families', 'one path over IPv4, one over IPv6', against(twoFamilies, { addresses: [first, '::1'] })),
  of('not-offered', 'without our transport parameter there is one path', against(notNegotiated, { maxPaths: 1 })),
]
