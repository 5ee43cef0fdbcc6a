import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StreamWriter } from '@quicether/transport'
import { MemoryNetwork } from './testing/memory-transport.ts'

test('what the transport does not take is kept in order, counted, and followed by the end', () => {
  const network = new MemoryNetwork({ windowBytes: 10 })
  const id = network.client.openStream('bidirectional') as number
  const writer = new StreamWriter(network.client, id)
  const got: number[] = []
  let status = 'blocked'
  network.client.onEvent = (event) => {
    if (event.kind === 'writable') writer.flush()
  }
  network.server.onEvent = (event) => {
    if (event.kind === 'readable') status = network.server.read(event.id, (chunk) => got.push(...chunk))
  }
  assert.equal(writer.write(Uint8Array.of(1, 2, 3)), true)
  assert.equal(writer.write(Uint8Array.from({ length: 20 }, (_, n) => n)), false)
  assert.equal(writer.queuedBytes, 13)
  assert.equal(writer.write(Uint8Array.of(9)), false)
  assert.equal(writer.queuedBytes, 14)
  writer.finish()
  assert.equal(writer.isOpen, false)
  network.run()
  assert.equal(writer.queuedBytes, 0)
  assert.equal(writer.isFinished, true)
  assert.deepEqual(got, [1, 2, 3, ...Array.from({ length: 20 }, (_, n) => n), 9])
  assert.equal(status, 'finished')
})

test('a connection that ended without its event having come drops what is written, and does not throw', () => {
  const network = new MemoryNetwork()
  const id = network.client.openStream('bidirectional') as number
  const writer = new StreamWriter(network.client, id)
  network.server.close(0x100, '')
  writer.write(Uint8Array.of(1))
  writer.finish()
  assert.equal(writer.queuedBytes, 0)
  assert.equal(writer.isOpen, false)
})
