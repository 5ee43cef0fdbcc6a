/** Cases in which QuicEther is the client and noq the server: we open the paths. */
import assert from 'node:assert/strict'
import { nowUs } from '@quicether/net'
import { LossyProxy } from '../lossy-proxy.ts'
import type { MultipathCase } from './case.ts'
import { MIB } from './limits.ts'
import { type NoqFacts, type NoqServer, noqPath, startNoqServer } from './noq-peer.ts'
import { OurClient, type OurClientOptions, until } from './ours.ts'
import { echoInterrupted, survivesACut } from './plays.ts'

/**
 * Of the about 1500 STREAM frames of 2 MiB, those that a backup path may carry: a busy machine delays acknowledgments
 * beyond the probe timeout, and then the backup rightly steps in until they come.
 */
export const STRAY_FRAMES_MAX = 400
const first = '127.0.0.1'
const second = '127.0.0.2'
const third = '127.0.0.3'

interface Scene {
  readonly client: OurClient
  readonly port: number
  /** What noq counts now. */
  readonly facts: () => Promise<NoqFacts>
}

/** Runs `play` with a connected client against a noq server of its own. */
function against(
  play: (scene: Scene) => Promise<string>,
  options: Partial<OurClientOptions> & { readonly bind?: string } = {},
): MultipathCase['run'] {
  const { bind = '0.0.0.0:0', ...clientOptions } = options
  return async ({ files, logFile, qlogs }) => {
    const server: NoqServer = await startNoqServer(bind, files, logFile)
    let client: OurClient | undefined
    try {
      client = await OurClient.connect({ port: server.port, files, qlog: qlogs.ours, ...clientOptions })
      const { streams } = client
      const facts = async (): Promise<NoqFacts> => JSON.parse(await streams.ask('paths')) as NoqFacts
      const measured = await play({ client, port: server.port, facts })
      await client.close()
      return measured
    } finally {
      await client?.close()
      await server.process.stop(1_000)
    }
  }
}

const packets = (client: OurClient, id: number): { sent: number; received: number } => {
  const path = client.path(id)
  assert.ok(path !== undefined, `path ${id} is there`)
  return { sent: path.packetsSent, received: path.packetsReceived }
}

/** STREAM frames that noq gets on path `id` while `act` runs. */
async function streamFrames(facts: Scene['facts'], id: number, act: () => Promise<void>): Promise<number> {
  const before = noqPath(await facts(), id).streamFramesReceived
  await act()
  return noqPath(await facts(), id).streamFramesReceived - before
}

/** noq sends on the first available path with room; to see both paths used by it, each in turn is made its backup. */
async function bothPathsBothWays({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath(second)
  assert.equal(id, 1)
  await client.streams.echo(4 * MIB)
  for (const path of [0, 1]) {
    assert.ok(packets(client, path).sent > 20, `we sent on path ${path}: ${packets(client, path).sent} packets`)
    const { streamFramesReceived, pathAcksReceived } = noqPath(await facts(), path)
    assert.ok(streamFramesReceived > 10, `noq got ${streamFramesReceived} STREAM frames on path ${path}`)
    assert.ok(pathAcksReceived > 0, `noq got ${pathAcksReceived} PATH_ACK frames on path ${path}`)
  }
  await client.streams.ask('status 0 backup')
  await client.streams.echo(2 * MIB)
  const after = await facts()
  assert.equal(after.multipath, true)
  assert.ok(after.events.includes('established 1'), `noq's events: ${after.events.join(', ')}`)
  const shares = [0, 1].map((path) => noqPath(after, path))
  for (const { id: path, streamFramesSent } of shares) {
    assert.ok(streamFramesSent > 50, `noq sent ${streamFramesSent} STREAM frames on path ${path}`)
  }
  return `noq received ${shares.map((path) => `${path.bytesReceived} bytes on path ${path.id}`).join(', ')}; sent ${shares
    .map((path) => `${path.bytesSent} on path ${path.id}`)
    .join(', ')}`
}

async function backupCarriesNothing({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath(second)
  client.connection.engine.setPathStatus(id, 'backup')
  await untilNoq(facts, `remote-status ${id} Backup`)
  const onBackup = await streamFrames(facts, id, () => client.streams.echo(2 * MIB))
  assert.ok(onBackup < STRAY_FRAMES_MAX, `${onBackup} STREAM frames went over the backup path`)
  client.connection.engine.setPathStatus(id, 'available')
  client.connection.engine.setPathStatus(0, 'backup')
  await untilNoq(facts, `remote-status ${id} Available`)
  await untilNoq(facts, 'remote-status 0 Backup')
  const onFirst = await streamFrames(facts, 0, () => client.streams.echo(2 * MIB))
  assert.ok(onFirst < STRAY_FRAMES_MAX, `${onFirst} STREAM frames went over path 0 after it had become the backup`)
  return `${onBackup} and ${onFirst} STREAM frames on the backup path beside 2 MiB each`
}

/** noq says that its own path 0 is a backup: our engine must heed PATH_STATUS from the peer. */
async function heedsTheirStatus({ client, facts }: Scene): Promise<string> {
  await client.openPath(second)
  await client.streams.ask('status 0 backup')
  await until('noq called path 0 a backup', () => changes(client, 0).includes('status'))
  const onFirst = await streamFrames(facts, 0, () => client.streams.echo(2 * MIB))
  assert.ok(onFirst < STRAY_FRAMES_MAX, `${onFirst} STREAM frames went over path 0, which noq called a backup`)
  return `${onFirst} STREAM frames on path 0 beside 2 MiB`
}

async function abandonInTheMiddle({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath(second)
  await echoInterrupted(client, () => client.connection.engine.closePath(id, nowUs()))
  const seen = await untilNoq(facts, `abandoned ${id} RemoteAbandoned { error_code: 62 }`)
  assert.ok(
    seen.paths.some((path) => path.abandonsReceived > 0),
    'noq got PATH_ABANDON',
  )
  await until('the path is forgotten', () => client.path(id) === undefined)
  await untilNoq(facts, `discarded ${id}`)
  const next = await client.openPath(third)
  assert.equal(next, id + 1)
  await client.streams.echo(MIB)
  return `path ${id} abandoned within 4 MiB, path ${next} opened after it`
}

async function theyAbandon({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath(second)
  const echo = client.streams.echo(4 * MIB)
  await client.streams.ask(`close ${id}`)
  await echo
  await until('we saw PATH_ABANDON', () => changes(client, id).includes('abandoned'))
  await until('the path is forgotten', () => client.path(id) === undefined)
  const seen = await untilNoq(facts, `discarded ${id}`)
  assert.ok(
    seen.paths.some((path) => path.abandonsReceived > 0),
    'our answer, PATH_ABANDON, reached noq',
  )
  return `noq abandoned path ${id} within 4 MiB, answered in kind`
}

async function firstPathGoes({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath(second)
  client.connection.engine.closePath(0, nowUs())
  await client.streams.echo(2 * MIB)
  await untilNoq(facts, 'discarded 0')
  await until('path 0 is forgotten', () => client.path(0) === undefined)
  await client.streams.echo(MIB)
  return `3 MiB on path ${id} alone`
}

async function manyPathIds({ client }: Scene): Promise<string> {
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

async function threePathsAndKeys({ client, facts }: Scene): Promise<string> {
  await client.openPath(second)
  await client.openPath(third)
  const rounds = 3
  for (let round = 1; round <= rounds; round++) {
    client.connection.engine.updateKeys()
    await client.streams.echo(2 * MIB)
    await until(`our key update ${round}`, () => client.ownKeyUpdates >= round)
  }
  const seen = await facts()
  for (const path of [0, 1, 2]) {
    const { streamFramesReceived } = noqPath(seen, path)
    assert.ok(streamFramesReceived > 10, `noq got ${streamFramesReceived} STREAM frames on path ${path}`)
  }
  return `${client.ownKeyUpdates} key updates of ours with three paths, ${client.connection.stats().keyUpdates} in all`
}

async function cutInTheMiddle({ client }: Scene): Promise<string> {
  const id = await client.openPath(second)
  // noq keeps to a silent path until its idle timeout (no failover of its own): it answers on the one that stays.
  await client.streams.ask('status 0 backup')
  return survivesACut(client, first, id)
}

/** noq's own data stays on the dead path until we abandon it: PATH_ABANDON for path 0 has to travel on the other one. */
async function cutAndAbandoned({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath(second)
  await echoInterrupted(client, () => {
    client.cut(first)
    client.connection.engine.closePath(0, nowUs())
  })
  const { events, paths } = await untilNoq(facts, 'abandoned 0 RemoteAbandoned { error_code: 62 }')
  const { streamFramesSent } = noqPath({ multipath: true, events, paths }, id)
  assert.ok(streamFramesSent > 50, `noq sent ${streamFramesSent} STREAM frames on path ${id}`)
  return `${streamFramesSent} STREAM frames of noq on path ${id} after path 0 was cut and abandoned`
}

/** Path 1 goes through a NAT that forgets its mapping twice in the middle of a transfer; path 0 is direct. */
async function rebinding({ client, port, facts }: Scene): Promise<string> {
  const nat = await LossyProxy.open(first, port, {})
  try {
    const id = await client.openPath(second, first, nat.port)
    // noq then sends on path 1, too.
    await client.streams.ask('status 0 backup')
    const rebinds = 2
    for (let done = 0; done <= rebinds; done++) {
      if (done > 0) nat.rebind()
      const before = noqPath(await facts(), id)
      await client.streams.echo(2 * MIB)
      const after = noqPath(await facts(), id)
      const frames = [
        after.streamFramesReceived - before.streamFramesReceived,
        after.streamFramesSent - before.streamFramesSent,
      ]
      assert.ok(Math.min(...frames) > 10, `STREAM frames noq got and sent on path ${id}, rebinding ${done}: ${frames}`)
    }
    return `${rebinds} new ports of path ${id}, each followed`
  } finally {
    nat.close()
  }
}

async function rotatesCids({ client, facts }: Scene): Promise<string> {
  await client.openPath(second)
  const rounds = 8
  for (let round = 1; round <= rounds; round++) {
    assert.ok(client.connection.engine.rotateCid(), `noq gave a spare connection ID before change ${round}`)
    await client.streams.echo(MIB / 4)
  }
  assert.ok(noqPath(await facts(), 0).isOpen)
  return `${rounds} connection IDs of noq used up on path 0, beside path 1`
}

async function twoFamilies({ client, facts }: Scene): Promise<string> {
  const id = await client.openPath('::1', '::1')
  await client.streams.echo(4 * MIB)
  const shares = [0, id].map((path) => packets(client, path).sent)
  assert.ok(Math.min(...shares) > 20, `packets sent on the two paths: ${shares.join(', ')}`)
  assert.equal((await facts()).multipath, true)
  return `${shares.join(' and ')} packets on IPv4 and IPv6`
}

async function notNegotiated({ client, facts }: Scene): Promise<string> {
  await client.streams.echo(MIB)
  assert.equal((await facts()).multipath, false)
  assert.equal(client.connection.engine.core.multipath.isNegotiated, false)
  return '1 MiB on one path'
}

function changes(client: OurClient, id: number): string[] {
  return client.streams.events.flatMap((event) => (event.kind === 'path' && event.path === id ? [event.change] : []))
}

async function untilNoq(facts: () => Promise<NoqFacts>, event: string): Promise<NoqFacts> {
  const deadlineMs = performance.now() + 10_000
  for (;;) {
    const seen = await facts()
    if (seen.events.includes(event)) return seen
    if (performance.now() > deadlineMs) throw new Error(`noq has no event "${event}": ${seen.events.join(', ')}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const pair = 'quicether → noq'

export const clientCases: readonly MultipathCase[] = [
  {
    name: 'two-paths',
    pair,
    proves: 'two paths opened by the client carry data both ways',
    run: against(bothPathsBothWays),
  },
  {
    name: 'status',
    pair,
    proves: 'what the client calls a backup carries nothing, either way round',
    run: against(backupCarriesNothing),
  },
  {
    name: 'peer-status',
    pair,
    proves: 'what the peer calls a backup carries nothing of ours',
    run: against(heedsTheirStatus),
  },
  {
    name: 'abandon',
    pair,
    proves: 'the client abandons a path in the middle of a transfer and opens another',
    run: against(abandonInTheMiddle),
  },
  {
    name: 'peer-abandons',
    pair,
    proves: 'the server abandons a path in the middle of a transfer',
    run: against(theyAbandon),
  },
  {
    name: 'first-path',
    pair,
    proves: 'the path of the handshake is abandoned, the other goes on',
    run: against(firstPathGoes),
  },
  {
    name: 'path-ids',
    pair,
    proves: 'twelve paths one after the other: MAX_PATH_ID and connection IDs keep up',
    run: against(manyPathIds),
  },
  { name: 'keys', pair, proves: 'three key updates with three paths', run: against(threePathsAndKeys) },
  {
    name: 'cut',
    pair,
    proves: 'the socket of the first path is gone in the middle of a transfer',
    run: against(cutInTheMiddle),
  },
  {
    name: 'cut-abandon',
    pair,
    proves: 'a dead path is abandoned over the one that lives, what the server had in flight on it comes again',
    run: against(cutAndAbandoned),
  },
  {
    name: 'rebinding',
    pair,
    proves: 'a NAT gives the second path a new port twice',
    run: against(rebinding),
  },
  {
    name: 'cids',
    pair,
    proves: 'the client changes its connection ID on the first path, again and again',
    run: against(rotatesCids),
  },
  {
    name: 'families',
    pair,
    proves: 'one path over IPv4, one over IPv6',
    run: against(twoFamilies, { bind: '[::]:0' }),
  },
  {
    name: 'not-offered',
    pair,
    proves: 'without the transport parameter of one side there is one path',
    run: against(notNegotiated, { maxPaths: 1 }),
  },
]
