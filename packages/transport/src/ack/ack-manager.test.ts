import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ecn, NEVER } from '../ports/datagrams.ts'
import { AckManager, ELICITING_PER_ACK_MAX } from './ack-manager.ts'

const RTT_US = 40_000
const MAX_ACK_DELAY_US = 25_000

/** Feeds packets at even distances and acknowledges whenever that is due at once; returns the sizes of the batches. */
class Feed {
  readonly ack = new AckManager(false)
  readonly batches: number[] = []
  nowUs = 1_000_000
  #next = 0
  #pending = 0

  packets(count: number, distanceUs: number, ecn: number = Ecn.NotEct): void {
    for (let i = 0; i < count; i++) {
      this.nowUs += distanceUs
      this.ack.onReceived(this.#next++, true, ecn, MAX_ACK_DELAY_US, RTT_US, this.nowUs)
      this.#pending++
      if (this.ack.dueAtUs <= this.nowUs) this.#acknowledge()
    }
  }

  skip(): void {
    this.#next++
  }

  #acknowledge(): void {
    this.batches.push(this.#pending)
    this.#pending = 0
    this.ack.onAckSent()
  }
}

test('a slow flow gets an ACK for every second packet, a lone packet one within max_ack_delay', () => {
  const feed = new Feed()
  feed.packets(40, 4_000)
  assert.deepEqual(new Set(feed.batches), new Set([2]))
  feed.packets(1, 4_000)
  assert.equal(feed.ack.dueAtUs, feed.nowUs + MAX_ACK_DELAY_US)
})

// spec: RFC 9000 §13.2.2
test('a fast flow in order gets fewer ACKs, yet eight per round trip, and its last packets within a quarter of max_ack_delay', () => {
  const fast = new Feed()
  fast.packets(2_000, 100)
  assert.equal(fast.batches.at(-1), ELICITING_PER_ACK_MAX)
  const medium = new Feed()
  medium.packets(400, 1_000)
  assert.equal(medium.batches.at(-1), 5)
  assert.equal(fast.ack.dueAtUs, NEVER)
  fast.packets(1, 100)
  assert.equal(fast.ack.dueAtUs, fast.nowUs + MAX_ACK_DELAY_US / 4)
})

// spec: RFC 9000 §13.2.1
test('a gap or a CE mark in a fast flow is acknowledged at once, and what follows densely', () => {
  const feed = new Feed()
  feed.packets(2_000, 100)
  feed.skip()
  feed.batches.length = 0
  feed.packets(11, 100)
  assert.deepEqual(feed.batches, [1, 2, 2, 2, 2, 2])
  feed.packets(2_000, 100)
  feed.batches.length = 0
  feed.packets(1, 100, Ecn.Ce)
  assert.equal(feed.batches.length, 1)
})

test('a flow that pauses starts again with an ACK for every second packet', () => {
  const feed = new Feed()
  feed.packets(2_000, 100)
  feed.nowUs += 10 * RTT_US
  feed.batches.length = 0
  feed.packets(40, 100)
  assert.ok(
    feed.batches.slice(1).every((batch) => batch === 2),
    feed.batches.join(' '),
  )
})
