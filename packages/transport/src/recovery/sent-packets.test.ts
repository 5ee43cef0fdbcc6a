/** The rings of sent packets: they grow with what is in flight and shrink when it is gone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ReceiptKind, SENT_PACKETS_MAX, SentFlag, SentPackets, SentState } from './sent-packets.ts'

const flags = SentFlag.Eliciting | SentFlag.CountsInFlight

function send(sent: SentPackets, count: number): void {
  for (let i = 0; i < count; i++) {
    sent.pushReceipt(ReceiptKind.Stream, 4, sent.next * 1_000, 2_000)
    sent.pushReceipt(ReceiptKind.MaxData, 0, 0, 0)
    sent.record(1_200, flags, sent.next)
  }
}

function settle(sent: SentPackets, from: number, to: number): void {
  for (let pn = from; pn < to; pn++) sent.settle(pn, SentState.Acked)
  sent.advance(0)
}

test('what each packet carried is remembered however far the tables have to grow', () => {
  const sent = new SentPackets()
  send(sent, 5_000)
  for (let pn = 0; pn < 5_000; pn++) {
    assert.equal(sent.receiptCount(pn), 2)
    assert.equal(sent.receipt(pn, 0, 2), pn * 1_000)
    assert.equal(sent.receipt(pn, 1, 0), ReceiptKind.MaxData)
    assert.equal(sent.sentAtUs(pn), pn)
  }
})

test('a quiet connection keeps small tables, also after it was busy', () => {
  const sent = new SentPackets()
  const small = sent.capacity
  assert.ok(small <= 32)
  send(sent, SENT_PACKETS_MAX - 1)
  assert.ok(sent.capacity >= SENT_PACKETS_MAX - 1)
  settle(sent, 0, sent.next - 1)
  assert.ok(sent.capacity > small, 'one packet is still in flight')
  settle(sent, sent.next - 1, sent.next)
  assert.equal(sent.capacity, small)
  assert.equal(sent.elicitingInFlight, 0)
  const first = sent.next
  send(sent, 100)
  assert.equal(sent.receipt(first + 99, 0, 2), (first + 99) * 1_000)
  settle(sent, first, sent.next)
  assert.equal(sent.first, sent.next)
})

test('receipts of a packet being built survive that everything before it is settled', () => {
  const sent = new SentPackets()
  send(sent, 3_000)
  sent.pushReceipt(ReceiptKind.Stream, 8, 77, 2)
  settle(sent, 0, 3_000)
  const pn = sent.record(1_200, flags, 0)
  assert.equal(sent.receipt(pn, 0, 1), 8)
  assert.equal(sent.receipt(pn, 0, 2), 77)
})
