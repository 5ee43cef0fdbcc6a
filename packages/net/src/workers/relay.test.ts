/** Datagrams between worker threads: whole, in order, bounded, counted. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { Slot } from '@quicether/native'
import type { DatagramBatch } from '@quicether/transport'
import { remoteWords, UdpTuple } from '../tuple-table.ts'
import { INBOX_BYTES_MAX, Relay } from './relay.ts'

const route = remoteWords('192.0.2.7', 4711, 0)
const addresses = { localAddress: '127.0.0.1', localPort: 443, remoteAddress: '192.0.2.7', remotePort: 4711 }
const tuple = new UdpTuple({ ...addresses, interfaceIndex: 0, socket: 3 }, route)

function batchOf(datagrams: readonly Uint8Array[]): DatagramBatch {
  const offsets = datagrams.map((_, index) => datagrams.slice(0, index).reduce((sum, { length }) => sum + length, 0))
  return {
    bytes: Uint8Array.from(Buffer.concat(datagrams)),
    offsets: Int32Array.from(offsets),
    lengths: Int32Array.from(datagrams.map(({ length }) => length)),
    ecns: Uint8Array.from(datagrams.map((_, index) => index & 3)),
    tuples: datagrams.map(() => tuple),
    count: datagrams.length,
  }
}

function pair(t: TestContext): { readonly from: Relay; readonly to: Relay } {
  const inboxes = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)
  const [from, to] = [new Relay(inboxes, 0), new Relay(inboxes, 1)]
  const { port1, port2 } = new MessageChannel()
  from.open(1, port1, 1)
  to.open(0, port2, 0)
  t.after(() => from.close(1))
  return { from, to }
}

test('datagrams arrive whole and in order, with their addresses, socket and ECN marks', async (t) => {
  const { from, to } = pair(t)
  const sent = Array.from({ length: 300 }, (_, index) => new Uint8Array(100 + index).fill(index))
  const received: Uint8Array[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  to.onParcel = (handle, bytes, meta) => {
    assert.equal(handle, 3)
    for (let words = 0; words < meta.length; words += Slot.Words) {
      assert.deepEqual(meta.subarray(words + Slot.Address, words + Slot.Words), route)
      assert.equal(meta[words + Slot.Ecn], received.length & 3)
      const offset = meta[words + Slot.Offset] ?? 0
      received.push(bytes.slice(offset, offset + (meta[words + Slot.Length] ?? 0)))
    }
    if (received.length === sent.length) resolve()
  }
  const batch = batchOf(sent)
  for (let index = 0; index < batch.count; index++) from.forward(1, batch, index)
  batch.bytes.fill(0)
  await promise
  assert.deepEqual(received, sent)
  assert.deepEqual(from.stats, { forwarded: 300, adopted: 0, forwardsDropped: 0 })
  assert.equal(to.stats.adopted, 300)
})

test('a thread that does not keep up loses what is beyond its share, and is served again when it has caught up', async (t) => {
  const { from, to } = pair(t)
  const batch = batchOf([new Uint8Array(60_000)])
  const total = Math.ceil((2 * INBOX_BYTES_MAX) / 60_000)
  const settled = Promise.withResolvers<void>()
  to.onParcel = () => {
    if (to.stats.adopted === from.stats.forwarded) settled.resolve()
  }
  // Nothing is received before this turn of the event loop ends.
  for (let i = 0; i < total; i++) from.forward(1, batch, 0)
  await settled.promise
  const { forwarded, forwardsDropped } = from.stats
  assert.equal(forwarded + forwardsDropped, total)
  assert.ok(forwarded * 60_000 <= INBOX_BYTES_MAX && forwarded * 60_000 > INBOX_BYTES_MAX / 2, `${forwarded}`)
  const again = Promise.withResolvers<void>()
  to.onParcel = () => again.resolve()
  from.forward(1, batch, 0)
  await again.promise
  assert.deepEqual(from.stats, { forwarded: forwarded + 1, adopted: 0, forwardsDropped })
})

test('datagrams for a thread that is gone are counted as dropped', (t) => {
  const { from } = pair(t)
  from.close(1)
  from.forward(1, batchOf([new Uint8Array(100)]), 0)
  from.forward('predecessor', batchOf([new Uint8Array(100)]), 0)
  assert.deepEqual(from.stats, { forwarded: 0, adopted: 0, forwardsDropped: 2 })
})
