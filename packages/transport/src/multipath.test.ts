/** Several paths at once (RFC 10069), seen from outside: two real endpoints, wires that can be cut one by one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import type { TransportConfig } from './config.ts'
import { Pair, type PairOptions, clientTuple, transfer } from './testing/index.ts'

const multipath: Partial<TransportConfig> = { maxPaths: 4 }
const secondTuple = clientTuple(41_000, '10.7.7.7')
const thirdTuple = clientTuple(42_000, '10.8.8.8')

/** A pair with multipath, handshake done and connection IDs for further paths exchanged. */
function joined(options: PairOptions = {}): Pair {
  const pair = new Pair({
    ...options,
    client: { ...multipath, ...options.client },
    server: { ...multipath, ...options.server },
  })
  pair.handshake()
  pair.advance(100_000)
  return pair
}

/** Opens a path and waits until both sides have validated it. */
function opened(pair: Pair, tuple = secondTuple): number {
  const id = pair.connection.openPath(tuple, {}, pair.nowUs)
  assert.ok(id !== undefined, 'a path ID and connection IDs are there')
  const isValid = (views: readonly { readonly id: number; readonly isValidated: boolean }[]): boolean =>
    views.some((view) => view.id === id && view.isValidated)
  pair.run(() => isValid(pair.connection.paths()) && isValid(pair.accepted?.paths() ?? []))
  return id
}

const addressOf = (datagram: {
  readonly from: string
  readonly tuple: { readonly localAddress: string; readonly remoteAddress: string }
}): string => (datagram.from === 'client' ? datagram.tuple.localAddress : datagram.tuple.remoteAddress)

// spec: RFC 10069 §2.1
test('multipath is used only when both sides offer it', () => {
  const pair = new Pair({ client: multipath }).handshake()
  pair.advance(100_000)
  assert.equal(pair.connection.core.multipath.isNegotiated, false)
  assert.equal(pair.connection.openPath(secondTuple, {}, pair.nowUs), undefined)
  const up = transfer(pair, 'client', 50_000)
  pair.run(up.isDone)
})

// spec: RFC 10069 §3.1
test('a client opens a path, both sides validate it, and data flows on both', () => {
  const pair = joined()
  const id = opened(pair)
  assert.equal(id, 1)
  pair.sent.length = 0
  const down = transfer(pair, 'server', 3_000_000)
  const up = transfer(pair, 'client', 3_000_000)
  pair.run(() => down.isDone() && up.isDone())
  for (const from of ['client', 'server']) {
    const byAddress = new Map<string, number>()
    for (const datagram of pair.sent) {
      if (datagram.from === from)
        byAddress.set(addressOf(datagram), (byAddress.get(addressOf(datagram)) ?? 0) + datagram.bytes.length)
    }
    assert.ok((byAddress.get('10.0.0.1') ?? 0) > 300_000, `${from} used path 0`)
    assert.ok((byAddress.get('10.7.7.7') ?? 0) > 300_000, `${from} used path 1`)
  }
})

// spec: RFC 10069 §2.4
test('each path counts its packets from zero, and a nonce is never used twice', () => {
  const pair = joined()
  opened(pair)
  opened(pair, thirdTuple)
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  const spaces = pair.accepted?.core.paths.paths.map((path) => path.space.sent.next) ?? []
  assert.equal(spaces.length, 3)
  assert.ok(spaces.every((next) => next > 0))
})

for (const dead of ['10.0.0.1', '10.7.7.7']) {
  test(`a download survives the silent death of the path from ${dead}`, () => {
    const pair = joined()
    opened(pair)
    const down = transfer(pair, 'server', 4_000_000)
    pair.run(() => down.received() > 500_000)
    pair.filter = (datagram) => addressOf(datagram) !== dead
    const startUs = pair.nowUs
    let before = down.received()
    let gapUs = 0
    let lastUs = pair.nowUs
    pair.run(() => {
      if (down.received() > before) {
        gapUs = Math.max(gapUs, pair.nowUs - lastUs)
        lastUs = pair.nowUs
        before = down.received()
      }
      return down.isDone()
    })
    assert.ok(pair.nowUs - startUs < 10_000_000)
    // Design goal G4: max(250 ms, 3 SRTT of the survivor + 1 PTO of the dead path), in virtual time.
    assert.ok(gapUs <= 250_000, `gap of ${gapUs} us`)
  })
}

test('a silent path is probed on, and takes over when it answers again and the other one dies', () => {
  const pair = joined()
  opened(pair)
  const down = transfer(pair, 'server', 3_000_000)
  pair.run(() => down.received() > 500_000)
  pair.filter = (datagram) => addressOf(datagram) !== '10.0.0.1'
  pair.run(down.isDone)
  pair.advance(3_000_000)
  assert.equal(pair.accepted?.core.paths.get(0)?.isSuspect(), true)
  pair.filter = () => true
  pair.advance(5_000_000)
  assert.equal(pair.accepted?.core.paths.get(0)?.isSuspect(), false)
  pair.filter = (datagram) => addressOf(datagram) !== '10.7.7.7'
  const rest = transfer(pair, 'server', 1_000_000)
  pair.run(rest.isDone)
})

// spec: RFC 10069 §3.4
test('an abandoned path is closed on both sides, its data goes on elsewhere, and its path ID is never used again', () => {
  const pair = joined()
  const id = opened(pair)
  const down = transfer(pair, 'server', 2_000_000)
  pair.run(() => down.received() > 200_000)
  pair.connection.closePath(id, pair.nowUs)
  pair.run(down.isDone)
  pair.advance(5_000_000)
  assert.deepEqual(
    pair.connection.paths().map((view) => view.id),
    [0],
  )
  assert.deepEqual(
    pair.accepted?.paths().map((view) => view.id),
    [0],
  )
  assert.equal(opened(pair), 2)
})

test('the first path can be abandoned once another one works', () => {
  const pair = joined()
  opened(pair)
  pair.connection.closePath(0, pair.nowUs)
  const up = transfer(pair, 'client', 500_000)
  pair.run(up.isDone)
  pair.advance(5_000_000)
  assert.deepEqual(
    pair.connection.paths().map((view) => view.id),
    [1],
  )
  const down = transfer(pair, 'server', 500_000)
  pair.run(down.isDone)
})

test('abandoning the last path closes the connection with a reason', () => {
  const pair = joined()
  pair.connection.closePath(0, pair.nowUs)
  pair.run(() => pair.event('client', 'closed') !== undefined)
  const reason = pair.event('client', 'closed')?.reason
  assert.ok(reason?.kind === 'transport' && reason.name === 'NO_VIABLE_PATH')
})

// spec: RFC 10069 §3.3
test('a backup path carries nothing while an available one works, and everything when it does not', () => {
  const pair = joined()
  const id = opened(pair)
  pair.connection.setPathStatus(id, 'backup')
  pair.run(() => pair.accepted?.core.paths.get(id)?.peerStatus === 'backup')
  const before = pair.accepted?.core.paths.get(id)?.packetsSent ?? 0
  const down = transfer(pair, 'server', 1_000_000)
  pair.run(down.isDone)
  assert.ok((pair.accepted?.core.paths.get(id)?.packetsSent ?? 0) - before < 10)
  pair.filter = (datagram) => addressOf(datagram) !== '10.0.0.1'
  const rest = transfer(pair, 'server', 1_000_000)
  pair.run(rest.isDone)
})

test('path IDs that are over make room for new ones, a thousand times', () => {
  const pair = joined({ client: { maxPaths: 2 }, server: { maxPaths: 2 } })
  for (let round = 1; round <= 1000; round++) {
    const id = opened(pair, clientTuple(1024 + round, '10.7.7.7'))
    assert.equal(id, round)
    pair.connection.closePath(id, pair.nowUs)
    pair.run(() => pair.connection.paths().length === 1 && pair.accepted?.paths().length === 1)
    pair.advance(60_000)
  }
  assert.ok(pair.connection.core.multipath.registries.size <= 4)
})

// spec: RFC 10069 §2.5
test('keys are updated with two paths in use', () => {
  const pair = joined()
  opened(pair)
  for (let round = 1; round <= 3; round++) {
    const down = transfer(pair, 'server', 500_000)
    const up = transfer(pair, 'client', 500_000)
    pair.connection.updateKeys()
    pair.run(() => down.isDone() && up.isDone())
    pair.advance(3_000_000)
    assert.equal(pair.accepted?.stats().keyUpdates, round)
  }
})

test('a path to an address that never answers is given up, and the rest goes on', () => {
  const pair = joined()
  pair.filter = (datagram) => addressOf(datagram) !== '10.7.7.7'
  const id = pair.connection.openPath(secondTuple, {}, pair.nowUs)
  assert.ok(id !== undefined)
  const up = transfer(pair, 'client', 500_000)
  pair.run(up.isDone)
  pair.run(() => pair.connection.paths().length === 1)
  assert.equal(pair.event('client', 'closed'), undefined)
})

test('the frames of RFC 10069 are really on the wire', () => {
  const seen = new Set<number>()
  const pair = joined({
    observe: () => ({
      connectionStarted() {},
      packetSent(_packet, bytes, start, end) {
        for (let at = start; at + 1 < end; at++) {
          const type = (((bytes[at] as number) & 0x3f) << 8) | (bytes[at + 1] as number)
          if (type >= FrameType.PathAbandon && type <= FrameType.PathCidsBlocked) seen.add(type)
        }
        if (bytes[start] === FrameType.PathAck || bytes[start] === FrameType.PathAckEcn) seen.add(FrameType.PathAck)
      },
      packetReceived() {},
      packetDropped() {},
      packetLost() {},
      metricsUpdated() {},
      event() {},
    }),
  })
  const id = opened(pair)
  pair.connection.setPathStatus(id, 'backup')
  pair.connection.setPathStatus(id, 'available')
  pair.advance(500_000)
  pair.connection.closePath(id, pair.nowUs)
  pair.advance(3_000_000)
  for (const type of [
    FrameType.PathAck,
    FrameType.PathAbandon,
    FrameType.PathStatusAvailable,
    FrameType.PathNewConnectionId,
    FrameType.MaxPathId,
  ]) {
    assert.ok(seen.has(type), `frame 0x${type.toString(16)}`)
  }
})
