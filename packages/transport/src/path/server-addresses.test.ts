/** A server announces further addresses: what the client learns, keeps, refuses, and how little it sends there at first. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeAdditionalAddresses, FrameType, type ServerAddress } from '@quicether/wire'
import type { TransportConfig } from '../config.ts'
import type { Connection } from '../connection.ts'
import { createTuple, type PathTuple } from '../ports/datagrams.ts'
import { Level } from '../ports/crypto.ts'
import { forgedPair, frameBytes, Pair, type PairOptions, transfer } from '../testing/index.ts'
import { watched } from '../testing/watched.ts'

const multipath: Partial<TransportConfig> = { maxPaths: 4 }
const second: ServerAddress = { address: '10.0.0.3', port: 443 }
const sixth: ServerAddress = { address: '2001:db8:0:0:0:0:0:9', port: 4433 }

function joined(options: PairOptions = {}): Pair {
  const pair = new Pair({
    ...options,
    client: { ...multipath, ...options.client },
    server: { ...multipath, ...options.server },
  }).handshake()
  pair.advance(100_000)
  return pair
}

const announce = (pair: Pair, { address, port }: ServerAddress): boolean =>
  (pair.accepted as Connection).announceAddress(address, port)
const withdraw = (pair: Pair, { address, port }: ServerAddress): boolean =>
  (pair.accepted as Connection).withdrawAddress(address, port)

/** Events about addresses, as text. */
function news(pair: Pair): string[] {
  return pair.clientEvents.flatMap((event) =>
    event.kind === 'addressAnnounced' || event.kind === 'addressWithdrawn'
      ? [`${event.kind} ${event.address} ${event.port}`]
      : [],
  )
}

function tupleTo({ address, port }: ServerAddress, localAddress = '10.7.7.7'): PathTuple {
  return createTuple({
    localAddress,
    localPort: 41_000,
    remoteAddress: address,
    remotePort: port,
    interfaceIndex: 0,
    socket: 0,
  })
}

test('a client learns of addresses that are announced and withdrawn, IPv4 and IPv6', () => {
  const pair = joined()
  assert.equal(announce(pair, second), true)
  assert.equal(announce(pair, sixth), true)
  assert.equal(announce(pair, second), false)
  pair.advance(50_000)
  assert.deepEqual(pair.connection.announcedAddresses(), [second, sixth])
  assert.equal(withdraw(pair, second), true)
  assert.equal(withdraw(pair, second), false)
  pair.advance(50_000)
  assert.deepEqual(pair.connection.announcedAddresses(), [sixth])
  assert.deepEqual(news(pair), [
    'addressAnnounced 10.0.0.3 443',
    'addressAnnounced 2001:db8:0:0:0:0:0:9 4433',
    'addressWithdrawn 10.0.0.3 443',
  ])
})

test('an address announced before the handshake is over arrives after it', () => {
  const pair = new Pair({ client: multipath, server: multipath })
  pair.connect()
  pair.run(() => pair.accepted !== undefined)
  announce(pair, second)
  pair.run(() => pair.connection.announcedAddresses().length === 1)
  assert.equal(pair.connection.core.handshakeConfirmed || pair.accepted?.core.handshakeConfirmed, true)
})

test('announcements that are lost are repeated until they arrive, and a later one replaces an earlier one', () => {
  const pair = joined()
  let dropped = 0
  pair.filter = ({ from }) => from === 'client' || ++dropped > 4
  announce(pair, second)
  pair.flush()
  announce(pair, sixth)
  pair.flush()
  withdraw(pair, second)
  pair.run(() => pair.connection.announcedAddresses().length > 0)
  assert.ok(dropped >= 4)
  assert.deepEqual(pair.connection.announcedAddresses(), [sixth])
  pair.advance(5_000_000)
  assert.deepEqual(pair.connection.announcedAddresses(), [sixth])
  assert.deepEqual(news(pair), ['addressAnnounced 2001:db8:0:0:0:0:0:9 4433'])
})

test('nothing is announced to a client that has not asked for it, and nothing breaks', () => {
  for (const client of [{ maxPaths: 1 }, { maxPaths: 4, announcedAddressesMax: 0 }]) {
    const { pair, sent } = watched({ client, server: multipath })
    pair.handshake()
    announce(pair, second)
    pair.run(transfer(pair, 'server', 20_000).isDone)
    assert.ok(sent.every(({ frames }) => !frames.includes('additional_addresses')))
    assert.deepEqual(pair.connection.announcedAddresses(), [])
    assert.equal(pair.connection.core.localParameters.additionalAddresses, false)
  }
})

test('servers never offer the extension themselves', () => {
  const pair = joined()
  assert.equal(pair.accepted?.core.localParameters.additionalAddresses, false)
  assert.equal(pair.connection.core.localParameters.additionalAddresses, true)
})

test('only servers announce, only addresses and ports that exist, and only so many', () => {
  const pair = joined()
  assert.throws(() => pair.connection.announceAddress('10.0.0.3', 443), { code: 'ERR_NOT_SERVER' })
  for (const address of ['300.1.1.1', 'example.org', 'fe80::1%eth0', '1::2::3', '12345::', '', ':']) {
    assert.throws(() => announce(pair, { address, port: 443 }), { code: 'ERR_ADDRESS' }, address)
  }
  for (const port of [0, 65_536, 1.5]) assert.throws(() => announce(pair, { ...second, port }), { code: 'ERR_PORT' })
  for (let port = 1; port <= 16; port++) assert.equal(announce(pair, { ...second, port }), true)
  assert.throws(() => announce(pair, sixth), { code: 'ERR_ADDRESS_LIMIT', message: /withdraw one first/ })
  pair.advance(100_000)
  assert.equal(pair.connection.announcedAddresses().length, 8)
})

/** A handshake after which the server writes what it likes. */
function forged(options: PairOptions = {}): {
  readonly pair: Pair
  readonly send: (sequence: number, addresses: readonly ServerAddress[]) => void
} {
  const { pair, send } = forgedPair('server', { client: multipath, server: multipath, ...options })
  pair.handshake()
  pair.advance(100_000)
  // The honest half of the server would wonder at acknowledgments of packets that it never sent.
  pair.filter = ({ from }) => from === 'server'
  let packetNumber = 1000
  return {
    pair,
    send: (sequence, addresses) => {
      send(Level.OneRtt, encodeAdditionalAddresses(sequence, addresses), { packetNumber: packetNumber++ })
      pair.advance(30_000)
    },
  }
}

test('an announcement older than the newest one changes nothing', () => {
  const { pair, send } = forged()
  send(5, [second])
  send(5, [sixth])
  send(4, [])
  assert.deepEqual(pair.connection.announcedAddresses(), [second])
  send(6, [])
  assert.deepEqual(pair.connection.announcedAddresses(), [])
})

test('the client keeps as many addresses as it wants and ignores those that nobody can have', () => {
  const { pair, send } = forged({ client: { ...multipath, announcedAddressesMax: 2 } })
  const useless = ['0.0.0.0', '224.0.0.1', '255.255.255.255', '::', 'ff02::1', '::ffff:102:304']
  send(1, [...useless.map((address) => ({ address, port: 443 })), { ...second, port: 0 }])
  assert.deepEqual(pair.connection.announcedAddresses(), [])
  const third = { address: '10.0.0.4', port: 443 }
  send(2, [second, second, third, sixth])
  assert.deepEqual(pair.connection.announcedAddresses(), [second, third])
})

test('a server that keeps changing its addresses is not listened to for long, and is again after a while', () => {
  const pair = joined()
  for (let n = 0; n < 300; n++) {
    const next = { address: `10.1.${n >> 8}.${n & 255}`, port: 443 }
    announce(pair, next)
    pair.advance(30_000)
    withdraw(pair, next)
  }
  const announced = news(pair).filter((line) => line.startsWith('addressAnnounced'))
  assert.ok(announced.length >= 64 && announced.length <= 64 + 10, String(announced.length))
  pair.advance(2_000_000)
  announce(pair, second)
  pair.advance(30_000)
  assert.deepEqual(pair.connection.announcedAddresses(), [second])
  assert.equal(pair.connection.isClosed, false)
})

for (const [what, side, client, frame, name] of [
  ['from a client', 'client', multipath, encodeAdditionalAddresses(0, [second]), 'PROTOCOL_VIOLATION'],
  ['that nobody asked for', 'server', {}, encodeAdditionalAddresses(0, [second]), 'FRAME_ENCODING_ERROR'],
  [
    'of an unknown IP version',
    'server',
    multipath,
    frameBytes(FrameType.AdditionalAddresses, 0, 1, Uint8Array.of(5, 1, 2)),
    'FRAME_ENCODING_ERROR',
  ],
  [
    'that is cut short',
    'server',
    multipath,
    encodeAdditionalAddresses(0, [second]).subarray(0, 14),
    'FRAME_ENCODING_ERROR',
  ],
] as const) {
  test(`an announcement ${what} ends the connection with ${name}`, () => {
    const { pair, send, verdict } = forgedPair(side, { client, server: multipath })
    pair.handshake()
    send(Level.OneRtt, frame)
    assert.equal(verdict().name, name)
  })
}

test('a path to an announced address carries nothing but probes until it is validated, then data', () => {
  const { pair, sent } = watched({ client: multipath, server: multipath })
  pair.handshake()
  announce(pair, second)
  pair.advance(100_000)
  let isDeaf = true
  pair.filter = (datagram) => datagram.from === 'client' || datagram.tuple.localAddress !== second.address || !isDeaf
  const up = transfer(pair, 'client', 1_000_000)
  const id = pair.connection.openPath(tupleTo(second), {}, pair.nowUs)
  assert.equal(id, 1)
  const view = () => pair.connection.paths().find((path) => path.id === id)
  pair.advance(700_000)
  assert.equal(up.isDone(), true)
  assert.equal(view()?.isValidated, false)
  isDeaf = false
  pair.run(() => view()?.isValidated === true)
  const early = sent.filter((packet) => packet.role === 'client' && packet.pathId === id && packet.atUs < pair.nowUs)
  assert.ok(early.length === 2, `${early.length} probes`)
  for (const { frames } of early) {
    for (const name of frames) assert.ok(['path_challenge', 'path_response'].includes(name), name)
  }
  const rest = transfer(pair, 'client', 1_000_000)
  pair.run(rest.isDone)
  assert.ok(sent.some(({ role, pathId, frames }) => role === 'client' && pathId === id && frames.includes('stream')))
})

test('a path to an announced address at which nobody answers is given up after a few probes', () => {
  const pair = joined()
  announce(pair, second)
  pair.advance(50_000)
  let toNowhere = 0
  pair.filter = ({ tuple }) => {
    if (tuple.remoteAddress === second.address) toNowhere++
    return tuple.remoteAddress !== second.address
  }
  const id = pair.connection.openPath(tupleTo(second), {}, pair.nowUs)
  const up = transfer(pair, 'client', 500_000)
  pair.run(up.isDone)
  pair.advance(20_000_000)
  assert.ok(toNowhere >= 2 && toNowhere <= 8, `${toNowhere} datagrams`)
  assert.equal(
    pair.connection.paths().some((path) => path.id === id && path.state !== 'abandoned'),
    false,
  )
})
