/** Stream schedulers: shares, order and freedom from starvation, as properties. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Pair, transfer } from '../testing/index.ts'
import { SendStream } from './send-stream.ts'
import { Stream } from './stream.ts'
import type { StreamPriority } from './stream-priority.ts'
import type { StreamScheduler } from './stream-scheduler.ts'
import { createStreamScheduler, streamSchedulers } from './stream-schedulers.ts'

const PACKET_BYTES = 1_200

function stream(id: number, settings: StreamPriority = {}): Stream {
  const made = new Stream(id * 4, new SendStream(id * 4, 0), undefined)
  Object.assign(made, settings)
  return made
}

/** Fills one packet as the outbox does: the stream at the head writes, then makes way. Returns its number. */
function packet(scheduler: StreamScheduler, bytes = PACKET_BYTES): number {
  const next = scheduler.peek() as Stream
  next.bytesSent += bytes
  scheduler.rotate()
  return next.id / 4
}

function counts(scheduler: StreamScheduler, streams: number, packets: number): number[] {
  const sent = Array.from({ length: streams }, () => 0)
  for (let i = 0; i < packets; i++) {
    const index = packet(scheduler)
    sent[index] = (sent[index] as number) + 1
  }
  return sent
}

for (const name of streamSchedulers) {
  test(`${name}: any mix of additions, packets, endings and changes keeps every stream in line exactly once`, () => {
    const actions = fc.array(fc.tuple(fc.constantFrom('add', 'send', 'end', 'change'), fc.nat(7), fc.nat(7)), {
      maxLength: 200,
    })
    fc.assert(
      fc.property(actions, (script) => {
        const scheduler = createStreamScheduler(name)
        const all = Array.from({ length: 8 }, (_, id) => stream(id))
        const queued = new Set<Stream>()
        for (const [action, which, value] of script) {
          const target = all[which] as Stream
          if (action === 'add' && !queued.has(target)) {
            scheduler.add(target)
            queued.add(target)
          } else if (action === 'send' && queued.size > 0) packet(scheduler, 1 + value * 200)
          else if (action === 'change' && queued.has(target)) {
            scheduler.take(target)
            Object.assign(target, { priority: value, weight: 1 + value * 30, isIncremental: value % 2 === 0 })
            scheduler.add(target)
          } else if (action === 'end' && queued.size > 0) {
            queued.delete(scheduler.peek() as Stream)
            scheduler.remove()
          }
          assert.equal(scheduler.size, queued.size)
          assert.equal(scheduler.peek() === undefined, queued.size === 0)
        }
        while (scheduler.size > 0) {
          assert.ok(queued.delete(scheduler.peek() as Stream))
          scheduler.remove()
        }
        assert.equal(queued.size, 0)
      }),
    )
  })

  test(`${name}: equal streams get equal shares, to the packet`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 400 }), (streams, packets) => {
        const scheduler = createStreamScheduler(name)
        for (let id = 0; id < streams; id++) scheduler.add(stream(id, { isIncremental: true }))
        const sent = counts(scheduler, streams, packets)
        assert.ok(Math.max(...sent) - Math.min(...sent) <= 2, `packets by stream: ${sent}`)
      }),
    )
  })
}

const weights = fc.array(fc.integer({ min: 1, max: 256 }), { minLength: 2, maxLength: 10 })

test('sprio: bytes follow the weights; a stream is off by two packets and its round at most', () => {
  fc.assert(
    fc.property(weights, (list) => {
      const scheduler = createStreamScheduler('sprio')
      for (const [id, weight] of list.entries()) scheduler.add(stream(id, { weight }))
      const packets = 4_000
      const sent = counts(scheduler, list.length, packets)
      const total = list.reduce((sum, weight) => sum + weight, 0)
      for (const [id, weight] of list.entries()) {
        const wanted = (packets * weight) / total
        const slack = 2 + (weight * 128) / PACKET_BYTES
        assert.ok(Math.abs((sent[id] as number) - wanted) <= slack, `stream ${id}: ${sent[id]}, wanted ${wanted}`)
      }
    }),
  )
})

test('sprio: no stream starves, however small its weight', () => {
  fc.assert(
    fc.property(weights, (list) => {
      const scheduler = createStreamScheduler('sprio')
      for (const [id, weight] of list.entries()) scheduler.add(stream(id, { weight }))
      const total = list.reduce((sum, weight) => sum + weight, 0)
      const sent = counts(scheduler, list.length, 4 * total + 100)
      assert.ok(Math.min(...sent) > 0, `packets by stream: ${sent}`)
    }),
  )
})

test('sprio: a stream that comes back again and again gets no more than its share', () => {
  const scheduler = createStreamScheduler('sprio')
  const steady = stream(0)
  const comer = stream(1)
  scheduler.add(steady)
  scheduler.add(comer)
  for (let i = 0; i < 1_000; i++) {
    const isComer = scheduler.peek() === comer
    packet(scheduler)
    if (!isComer) continue
    // It has nothing more for now: out, and in again at once.
    while (scheduler.peek() !== comer) packet(scheduler)
    scheduler.remove()
    scheduler.add(comer)
  }
  assert.ok(comer.bytesSent <= steady.bytesSent + 2 * PACKET_BYTES, `${comer.bytesSent} against ${steady.bytesSent}`)
})

test('prio: a packet never goes to a stream while a more urgent one waits, and equals take turns', () => {
  const priorities = fc.array(fc.nat(7), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(priorities, (list) => {
      const scheduler = createStreamScheduler('prio')
      const left = list.map((priority, id) => ({ priority, id, packets: 3 }))
      for (const { id, priority } of left) scheduler.add(stream(id, { priority }))
      while (scheduler.size > 0) {
        const served = left[(scheduler.peek() as Stream).id / 4]
        assert.ok(served !== undefined)
        const waiting = left.filter(({ packets }) => packets > 0)
        assert.equal(served.priority, Math.min(...waiting.map(({ priority }) => priority)))
        const equals = waiting.filter(({ priority }) => priority === served.priority)
        assert.equal(served.packets, Math.max(...equals.map(({ packets }) => packets)))
        served.packets--
        if (served.packets > 0) packet(scheduler)
        else scheduler.remove()
      }
    }),
  )
})

for (const name of ['prio', 'rfc9218'] as const) {
  test(`${name}: a stream that becomes urgent while it waits goes next`, () => {
    const pair = new Pair({ client: { streamScheduler: name } }).handshake()
    const others = [transfer(pair, 'client', 200_000), transfer(pair, 'client', 200_000)]
    const late = transfer(pair, 'client', 200_000)
    pair.run(() => (others[0]?.received() ?? 0) > 20_000)
    pair.connection.setStreamPriority(10, { priority: 0 })
    const before = others.map((other) => other.received())
    pair.run(late.isDone)
    // What was under way already still arrives.
    for (const [i, other] of others.entries()) assert.ok(other.received() - (before[i] ?? 0) < 80_000)
  })
}

test('rfc9218: streams of one urgency that are not incremental follow each other, the oldest first', () => {
  const scheduler = createStreamScheduler('rfc9218')
  for (const id of [2, 0, 1]) scheduler.add(stream(id))
  const order: number[] = []
  for (let i = 0; i < 9; i++) {
    order.push(packet(scheduler))
    if (i % 3 === 2) scheduler.remove()
  }
  assert.deepEqual(order, [0, 0, 0, 1, 1, 1, 2, 2, 2])
})

test('rfc9218: incremental streams share an urgency in turn, and a sequential one among them gets every other packet', () => {
  const scheduler = createStreamScheduler('rfc9218')
  scheduler.add(stream(0))
  scheduler.add(stream(1, { isIncremental: true }))
  scheduler.add(stream(2, { isIncremental: true }))
  assert.deepEqual(counts(scheduler, 3, 400), [200, 100, 100])
})

test('rfc9218: a more urgent stream always goes before, incremental or not', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(7), fc.boolean()), { minLength: 1, maxLength: 20 }), (list) => {
      const scheduler = createStreamScheduler('rfc9218')
      for (const [id, [priority, isIncremental]] of list.entries())
        scheduler.add(stream(id, { priority, isIncremental }))
      let before = 0
      while (scheduler.size > 0) {
        const urgency = (scheduler.peek() as Stream).priority
        assert.equal(scheduler.urgency, urgency)
        assert.ok(urgency >= before)
        before = urgency
        packet(scheduler)
        scheduler.remove()
      }
    }),
  )
})

test('prio: over a connection the urgent stream arrives first', () => {
  const pair = new Pair({ client: { streamScheduler: 'prio' } }).handshake()
  const slow = transfer(pair, 'client', 300_000)
  const fast = transfer(pair, 'client', 300_000)
  assert.equal(pair.connection.setStreamPriority(6, { priority: 0 }), true)
  pair.run(fast.isDone)
  assert.ok(slow.received() < 60_000, `${slow.received()} bytes of the other one are there, too`)
  pair.run(slow.isDone)
})

test('sprio: over a connection two streams share by weight', () => {
  const pair = new Pair({ client: { streamScheduler: 'sprio' } }).handshake()
  const small = transfer(pair, 'client', 800_000)
  const large = transfer(pair, 'client', 800_000)
  pair.connection.setStreamPriority(2, { weight: 10 })
  pair.connection.setStreamPriority(6, { weight: 40 })
  pair.run(() => large.received() > 400_000)
  const ratio = large.received() / small.received()
  assert.ok(ratio > 3.2 && ratio < 5, `ratio ${ratio}`)
})

test('setStreamPriority refuses values out of range with the range, and says when a stream is not open', () => {
  const pair = new Pair().handshake()
  const id = pair.connection.openStream('unidirectional') ?? -1
  for (const priority of [-1, 8, 1.5, NaN]) {
    assert.throws(() => pair.connection.setStreamPriority(id, { priority }), /priority is .*; allowed: .* 0 to 7/)
  }
  for (const weight of [0, 257, 0.5]) {
    assert.throws(() => pair.connection.setStreamPriority(id, { weight }), /weight is .*; allowed: .* 1 to 256/)
  }
  assert.equal(pair.connection.setStreamPriority(4_000, { priority: 1 }), false)
})
