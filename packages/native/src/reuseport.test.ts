/** Sockets that share an address, and the program that chooses among them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UdpSocket } from './udp-socket.ts'

const loopback = '127.0.0.1'

/** `ret #1` */
const alwaysSecond = Int32Array.of(0x06 << 16, 1)

test('sockets share an address only when each of them asks for it', () => {
  const first = new UdpSocket({ address: loopback, port: 0, reusePort: true })
  const { port } = first.info
  const second = new UdpSocket({ address: loopback, port, reusePort: true })
  assert.equal(second.info.port, port)
  assert.throws(() => new UdpSocket({ address: loopback, port }), { code: 'ERR_PORT_IN_USE' })
  first.close()
  second.close()
})

test('a duplicate has the address of its original and outlives it', () => {
  const original = new UdpSocket({ address: loopback, port: 0 })
  const { port } = original.info
  const copy = new UdpSocket({ address: loopback, port: 0, descriptor: original.descriptor })
  original.close()
  assert.equal(copy.info.port, port)
  assert.throws(() => new UdpSocket({ address: loopback, port }), { code: 'ERR_PORT_IN_USE' })
  copy.close()
  new UdpSocket({ address: loopback, port }).close()
})

test('a descriptor that is no bound UDP socket is refused', () => {
  for (const descriptor of [0, -1, 1_000_000])
    assert.throws(() => new UdpSocket({ address: loopback, port: 0, descriptor }), { code: 'ERR_SOCKET' })
})

test('a program that is not sound is refused with an errno, one of odd length with an error', () => {
  const socket = new UdpSocket({ address: loopback, port: 0, reusePort: true })
  assert.notEqual(socket.attachSteering(Int32Array.of(0x00 << 16, 0)), 0)
  assert.throws(() => socket.attachSteering(new Int32Array(0)), { code: 'ERR_RANGE' })
  assert.throws(() => socket.attachSteering(new Int32Array(3)), { code: 'ERR_RANGE' })
  if (process.platform === 'linux') assert.equal(socket.attachSteering(alwaysSecond), 0)
  socket.close()
})
