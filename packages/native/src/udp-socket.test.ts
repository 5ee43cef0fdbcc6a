/** The UDP socket over loopback: offload, ECN, source addresses, events, errors. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { Address, Slot, SLOT_BYTES, scopeId, UdpSocket } from './udp-socket.ts'

const slots = 8
const slab = new Uint8Array(slots * SLOT_BYTES)
const meta = new Int32Array(slots * Slot.Words)

/** Address words of a numeric IPv4 address, or of ::1. */
function addressOf(ip: string, port: number): Int32Array {
  const words = new Int32Array(Address.Words)
  words[Address.RemotePort] = port
  if (ip === '::1') {
    words[Address.RemoteFamily] = 6
    words[Address.RemoteIp + 3] = 1
  } else {
    words[Address.RemoteFamily] = 4
    words[Address.RemoteIp] = ip.split('.').reduce((word, part) => (word << 8) | Number(part), 0)
  }
  return words
}

interface Received {
  readonly datagrams: Uint8Array[]
  readonly words: Int32Array
}

/** Waits for readiness until `bytes` have come. */
async function receiveBytes(socket: UdpSocket, bytes: number): Promise<Received> {
  const datagrams: Uint8Array[] = []
  let words = new Int32Array()
  let total = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  socket.start(() => {
    const count = socket.receive(slab, meta)
    for (let index = 0; index < count; index++) {
      words = meta.slice(index * Slot.Words, (index + 1) * Slot.Words)
      const [offset = 0, length = 0, stride = 0] = words
      for (let at = 0; at < length; at += stride) {
        datagrams.push(slab.slice(offset + at, offset + Math.min(at + stride, length)))
      }
      total += length
    }
    if (total >= bytes) resolve()
  })
  await promise
  return { datagrams, words }
}

for (const [family, ip] of [
  ['IPv4', '127.0.0.1'],
  ['IPv6', '::1'],
] as const) {
  test(`${family}: a train of 40 datagrams arrives whole, in order, with ECN, addresses and interface`, async () => {
    using cleanup = new DisposableStack()
    const [from, to] = [new UdpSocket({ address: ip, port: 0 }), new UdpSocket({ address: ip, port: 0 })]
    cleanup.defer(() => from.close())
    cleanup.defer(() => to.close())
    assert.equal(to.info.address, ip)
    const [segment, count] = [1200, 40]
    const length = segment * (count - 1) + 500
    const bytes = new Uint8Array(length).map((_, index) => Math.floor(index / segment))
    const address = addressOf(ip, to.info.port)
    const receiving = receiveBytes(to, length)
    assert.equal(from.send(bytes, 0, length, segment, 2, address), length)
    const { datagrams, words } = await receiving
    assert.equal(datagrams.length, count)
    datagrams.forEach((datagram, index) => {
      assert.equal(datagram.length, index === count - 1 ? 500 : segment)
      assert.ok(datagram.every((byte) => byte === index))
    })
    assert.equal(words[Slot.Ecn], 2)
    assert.equal(words[Slot.Address + Address.RemotePort], from.info.port)
    assert.equal(words[Slot.Address + Address.LocalFamily], address[Address.RemoteFamily])
    const local = words.subarray(Slot.Address + Address.LocalIp, Slot.Address + Address.LocalIp + 4)
    assert.deepEqual([...local], [...address.subarray(Address.RemoteIp, Address.RemoteIp + 4)])
    assert.equal(words[Slot.Address + Address.Interface], scopeId('lo'))
    assert.equal(from.offloadFailed, false)
  })
}

test('an answer leaves from the address that was asked, although the socket is bound to all', async () => {
  using cleanup = new DisposableStack()
  const server = new UdpSocket({ address: '0.0.0.0', port: 0 })
  const client = new UdpSocket({ address: '127.0.0.1', port: 0 })
  cleanup.defer(() => server.close())
  cleanup.defer(() => client.close())
  const question = receiveBytes(server, 4)
  client.send(Uint8Array.of(1, 2, 3, 4), 0, 4, 4, 0, addressOf('127.0.0.77', server.info.port))
  const { words } = await question
  const answer = receiveBytes(client, 2)
  const reply = words.slice(Slot.Address, Slot.Address + Address.Words)
  assert.equal(server.send(Uint8Array.of(5, 6), 0, 2, 2, 0, reply), 2)
  const back = (await answer).words
  assert.equal(back[Slot.Address + Address.RemoteIp], addressOf('127.0.0.77', 1)[Address.RemoteIp])
})

test('microtasks run after the readiness callback, as after every event', async () => {
  using cleanup = new DisposableStack()
  const [from, to] = [
    new UdpSocket({ address: '127.0.0.1', port: 0 }),
    new UdpSocket({ address: '127.0.0.1', port: 0 }),
  ]
  cleanup.defer(() => from.close())
  cleanup.defer(() => to.close())
  const { promise, resolve } = Promise.withResolvers<string[]>()
  const order: string[] = []
  to.start(() => {
    to.receive(slab, meta)
    queueMicrotask(() => order.push('microtask'))
    setImmediate(() => resolve(order))
    order.push('callback')
  })
  from.send(Uint8Array.of(1), 0, 1, 1, 0, addressOf('127.0.0.1', to.info.port))
  assert.deepEqual(await promise, ['callback', 'microtask'])
})

test('an idle socket can be asked for writability and answers at once', async () => {
  using socket = closing(new UdpSocket({ address: '127.0.0.1', port: 0 }))
  const { promise, resolve } = Promise.withResolvers<boolean>()
  socket.it.start((writable) => {
    socket.it.setWritableWanted(false)
    resolve(writable)
  })
  socket.it.setWritableWanted(true)
  assert.equal(await promise, true)
})

test('a datagram larger than the link is dropped with EMSGSIZE and leaves offload on', () => {
  using socket = closing(new UdpSocket({ address: '127.0.0.1', port: 0 }))
  const bytes = new Uint8Array(65_535)
  assert.equal(socket.it.send(bytes, 0, 65_535, 65_535, 0, addressOf('127.0.0.1', 9)), -90)
  assert.equal(socket.it.offloadFailed, false)
})

test('a source address that is not ours drops the train and leaves offload on', () => {
  using socket = closing(new UdpSocket({ address: '0.0.0.0', port: 0 }))
  const address = addressOf('127.0.0.1', 9)
  address[Address.LocalFamily] = 4
  address[Address.LocalIp] = addressOf('203.0.113.9', 1)[Address.RemoteIp] ?? 0
  const before = socket.it.segmentsMax
  assert.ok(socket.it.send(new Uint8Array(4800), 0, 4800, 1200, 0, address) < 0)
  assert.deepEqual([socket.it.segmentsMax, socket.it.offloadFailed], [before, false])
})

test('a train longer than offload allows is still sent whole', async () => {
  using cleanup = new DisposableStack()
  const [from, to] = [
    new UdpSocket({ address: '127.0.0.1', port: 0 }),
    new UdpSocket({ address: '127.0.0.1', port: 0 }),
  ]
  cleanup.defer(() => from.close())
  cleanup.defer(() => to.close())
  const count = from.segmentsMax + 70
  const receiving = receiveBytes(to, count * 100)
  assert.equal(
    from.send(new Uint8Array(count * 100), 0, count * 100, 100, 0, addressOf('127.0.0.1', to.info.port)),
    count * 100,
  )
  assert.equal((await receiving).datagrams.length, count)
})

test('the interface can be given by name, and an unknown one is refused', () => {
  using socket = closing(new UdpSocket({ address: '127.0.0.1', port: 0, interfaceName: 'lo' }))
  assert.ok(['device', 'unicast-if'].includes(socket.it.info.boundBy))
  const open = () => new UdpSocket({ address: '127.0.0.1', port: 0, interfaceName: 'nosuch0' })
  assert.throws(open, { code: 'ERR_INTERFACE', message: /nosuch0/ })
})

test('a port in use, a foreign address and nonsense are refused with what to do', () => {
  using socket = closing(new UdpSocket({ address: '127.0.0.1', port: 0 }))
  const { port } = socket.it.info
  const inUse = { code: 'ERR_PORT_IN_USE', message: new RegExp(`127\\.0\\.0\\.1:${port}.*another port`) }
  assert.throws(() => new UdpSocket({ address: '127.0.0.1', port }), inUse)
  assert.throws(() => new UdpSocket({ address: '192.0.2.1', port: 0 }), { code: 'ERR_ADDRESS' })
  assert.throws(() => new UdpSocket({ address: 'localhost', port: 0 }), { code: 'ERR_ADDRESS' })
  assert.throws(() => new UdpSocket({ address: 'fe80::1%nosuch0', port: 0 }), { code: 'ERR_ADDRESS' })
})

test('a closed socket frees its port at once and refuses further use', async () => {
  const first = new UdpSocket({ address: '127.0.0.1', port: 0 })
  first.start(() => assert.fail('a closed socket called back'))
  const { port } = first.info
  first.close()
  first.close()
  new UdpSocket({ address: '127.0.0.1', port }).close()
  assert.throws(() => first.receive(slab, meta), { code: 'ERR_CLOSED' })
  await turn()
})

test('an exception in the readiness callback is an uncaughtException, as for any event', async () => {
  using cleanup = new DisposableStack()
  const [from, to] = [
    new UdpSocket({ address: '127.0.0.1', port: 0 }),
    new UdpSocket({ address: '127.0.0.1', port: 0 }),
  ]
  cleanup.defer(() => from.close())
  cleanup.defer(() => to.close())
  to.start(() => {
    to.receive(slab, meta)
    throw new Error('from the callback')
  })
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  cleanup.defer(() => listeners.forEach((listener) => process.on('uncaughtException', listener)))
  from.send(Uint8Array.of(1), 0, 1, 1, 0, addressOf('127.0.0.1', to.info.port))
  const [problem] = await once(process, 'uncaughtException')
  assert.equal(problem.message, 'from the callback')
})

test('a socket that asked for ICMP errors learns that nobody listens, and goes on working', async () => {
  using cleanup = new DisposableStack()
  const from = new UdpSocket({ address: '127.0.0.1', port: 0, reportErrors: true })
  const to = new UdpSocket({ address: '127.0.0.1', port: 0 })
  cleanup.defer(() => from.close())
  cleanup.defer(() => to.close())
  const gone = new UdpSocket({ address: '127.0.0.1', port: 0 })
  gone.close()
  const refused = Promise.withResolvers<number>()
  const answered = Promise.withResolvers<void>()
  from.start(() => {
    const errno = from.takeError()
    if (errno !== 0) refused.resolve(errno)
    if (from.receive(slab, meta) > 0) answered.resolve()
  })
  from.send(Uint8Array.of(1), 0, 1, 1, 0, addressOf('127.0.0.1', gone.info.port))
  assert.equal(await refused.promise, 111)
  // The error does not cost the datagrams after it, and the watch is still on.
  from.send(Uint8Array.of(1), 0, 1, 1, 0, addressOf('127.0.0.1', gone.info.port))
  assert.equal(from.send(Uint8Array.of(2), 0, 1, 1, 0, addressOf('127.0.0.1', to.info.port)), 1)
  await receiveBytes(to, 1)
  to.send(Uint8Array.of(3), 0, 1, 1, 0, addressOf('127.0.0.1', from.info.port))
  await answered.promise
})

test('a worker that ends with an open socket takes nothing down', async () => {
  const source = `
    const { UdpSocket } = await import(${JSON.stringify(new URL('./udp-socket.ts', import.meta.url).href)})
    const { parentPort } = await import('node:worker_threads')
    const socket = new UdpSocket({ address: '127.0.0.1', port: 0 })
    socket.start(() => {})
    parentPort.postMessage(socket.info.port)
  `
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`))
  const [port] = await once(worker, 'message')
  await worker.terminate()
  new UdpSocket({ address: '127.0.0.1', port }).close()
})

function closing(it: UdpSocket): { it: UdpSocket } & Disposable {
  return { it, [Symbol.dispose]: () => it.close() }
}
