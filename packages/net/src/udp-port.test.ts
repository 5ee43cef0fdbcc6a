/** The UDP port alone: batches, trains, blocked queues, lost interfaces. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTuple } from '@quicether/transport'
import { UdpPort } from './udp-port.ts'

function pair(): { from: UdpPort; to: UdpPort; source: number; target: number; close: () => void } {
  const [from, to] = [new UdpPort(), new UdpPort()]
  const source = from.bind({ address: '127.0.0.1', port: 0 })
  const target = to.bind({ address: '127.0.0.1', port: 0 })
  from.train.tuple = from.tupleTo(source.handle, '127.0.0.1', target.port)
  const close = () => {
    from.close()
    to.close()
  }
  return { from, to, source: source.handle, target: target.handle, close }
}

function fill(port: UdpPort, count: number, segment: number, last = segment): void {
  const { train } = port
  train.segmentSize = segment
  train.length = (count - 1) * segment + last
  train.count = count
  train.ecn = 2
  for (let index = 0; index < count; index++) train.bytes.fill(index, index * segment, (index + 1) * segment)
}

test('a train is split into its datagrams again, the last one shorter', () => {
  const { from, to, target, close } = pair()
  fill(from, 30, 1400, 77)
  assert.equal(from.send(from.train), true)
  assert.equal(to.receive(target), true)
  const { batch } = to
  assert.equal(batch.count, 30)
  for (let index = 0; index < 30; index++) {
    assert.equal(batch.lengths[index], index === 29 ? 77 : 1400)
    assert.equal(batch.bytes[batch.offsets[index] ?? -1], index)
    assert.equal(batch.ecns[index], 2)
    assert.equal(batch.tuples[index], batch.tuples[0])
  }
  assert.equal(to.receive(target), false)
  const { trainsSent, datagramsSent, bytesSent } = from.stats
  assert.deepEqual([trainsSent, datagramsSent, bytesSent], [1, 30, 29 * 1400 + 77])
  close()
})

test('more datagrams than one batch holds come in several batches, none lost', () => {
  const { from, to, target, close } = pair()
  const trains = 20
  for (let train = 0; train < trains; train++) {
    fill(from, 48, 10)
    from.send(from.train)
  }
  let count = 0
  for (let rounds = 0; count < trains * 48 && rounds < 50; rounds++) {
    while (to.receive(target)) {
      assert.ok(to.batch.count <= 1024)
      count += to.batch.count
    }
  }
  assert.equal(count, trains * 48)
  close()
})

test('a reply to the tuple of a received datagram arrives where it came from', () => {
  const { from, to, source, target, close } = pair()
  fill(from, 1, 5)
  from.send(from.train)
  to.receive(target)
  to.train.tuple = to.batch.tuples[0]
  fill(to, 1, 6)
  assert.equal(to.send(to.train), true)
  assert.equal(from.receive(source), true)
  assert.equal(from.batch.lengths[0], 6)
  assert.equal(from.batch.tuples[0], from.train.tuple)
  close()
})

test('a tuple made elsewhere is sent to by its addresses', () => {
  const { from, to, target, source, close } = pair()
  const { remotePort = 0 } = from.train.tuple ?? {}
  from.train.tuple = createTuple({
    localAddress: '127.0.0.1',
    localPort: 1,
    remoteAddress: '127.0.0.1',
    remotePort,
    interfaceIndex: 0,
    socket: source,
  })
  fill(from, 2, 9)
  assert.equal(from.send(from.train), true)
  assert.equal(to.receive(target), true)
  close()
})

test('trains without a route and trains for a closed socket are counted as dropped, not as blocked', () => {
  const { from, source, close } = pair()
  from.train.tuple = from.tupleTo(source, '203.0.113.1', 9)
  fill(from, 3, 1200)
  assert.equal(from.send(from.train), true)
  const { trainsDropped, lastErrno } = from.stats
  assert.equal(trainsDropped, 1)
  assert.ok(lastErrno > 0)
  from.unbind(source)
  assert.equal(from.send(from.train), true)
  assert.equal(from.stats.trainsDropped, 2)
  assert.throws(() => from.tupleTo(source, '127.0.0.1', 1), { code: 'ERR_CLOSED' })
  close()
})

test('an unknown IPv6 zone is refused by name', () => {
  const port = new UdpPort()
  const { handle } = port.bind({ address: '::1', port: 0 })
  assert.throws(() => port.tupleTo(handle, 'fe80::1%nosuch0', 1), { code: 'ERR_INTERFACE', message: /nosuch0/ })
  assert.equal(port.tupleTo(handle, 'fe80::1%lo', 1).interfaceIndex, 1)
  port.close()
})

test('a destination that the kernel has no way to is told at once, with the tuple it was for', () => {
  const { from, source, close } = pair()
  const told: string[] = []
  from.onSendFailed = ({ remoteAddress }, errno) => told.push(`${remoteAddress} ${errno > 0}`)
  // TEST-NET-1 (RFC 5737) from a loopback address: no route leads there.
  from.train.tuple = from.tupleTo(source, '192.0.2.1', 9)
  fill(from, 1, 1200)
  assert.equal(from.send(from.train), true)
  assert.deepEqual(told, ['192.0.2.1 true'])
  assert.equal(from.stats.trainsDropped, 1)
  close()
})
