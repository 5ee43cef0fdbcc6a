/** Pacing: bursts, rates over time, and trains. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Pacer } from './pacer.ts'

const MTU = 1_200
const MEGABYTE = 1_000_000

/** Sends all that is allowed until `endUs`, waking at `nextSendUs` rounded up to `tickUs`; returns bytes per call time. */
function drive(pacer: Pacer, rate: number, windowBytes: number, endUs: number, tickUs: number): [number, number][] {
  const sent: [number, number][] = []
  let nowUs = 0
  while (nowUs <= endUs) {
    let bytes = 0
    while (pacer.budgetBytes(nowUs, rate, windowBytes) >= MTU) {
      pacer.onSent(MTU, nowUs)
      bytes += MTU
    }
    if (bytes > 0) sent.push([nowUs, bytes])
    const nextUs = pacer.nextSendUs(nowUs, rate, windowBytes)
    assert.ok(nextUs > nowUs && Number.isFinite(nextUs), `a wake time after ${nowUs}, got ${nextUs}`)
    nowUs = Math.ceil(nextUs / tickUs) * tickUs
  }
  return sent
}

test('the first burst is ten packets, the initial window', () => {
  const pacer = new Pacer(MTU)
  let packets = 0
  while (pacer.budgetBytes(0, 36_000, 12_000) >= MTU) {
    pacer.onSent(MTU, 0)
    packets += 1
  }
  assert.equal(packets, 10)
})

test('without a rate only the window limits', () => {
  const pacer = new Pacer(MTU)
  pacer.onSent(50_000, 0)
  assert.equal(pacer.budgetBytes(0, 0, 77_000), 77_000)
  assert.equal(pacer.nextSendUs(0, 0, 77_000), 0)
})

for (const [mbps, tickUs] of [
  [1, 1],
  [8, 1_000],
  [100, 1_000],
  [100, 4_000],
  [1_000, 1_000],
  [8_000, 1_000],
] as const)
  test(`at ${mbps} Mbit/s and timers of ${tickUs} us the rate is met and never exceeded`, () => {
    const rate = (mbps * MEGABYTE) / 8
    const windowBytes = rate / 10
    const sent = drive(new Pacer(MTU), rate, windowBytes, 2_000_000, tickUs)
    const total = sent.reduce((sum, [, bytes]) => sum + bytes, 0)
    const burstBytes = Math.max(...sent.map(([, bytes]) => bytes))
    const allowedBurst = Math.max(10 * MTU, Math.min(rate / 250, 65_536), rate / 1_000) + 1
    assert.ok(burstBytes <= allowedBurst, `burst ${burstBytes} over ${allowedBurst}`)
    assert.ok(total <= allowedBurst + rate * 2, `${total} bytes in 2 s`)
    assert.ok(total >= 0.97 * rate * 2, `only ${total} of ${rate * 2} bytes in 2 s`)
  })

test('at 500 Mbit/s trains hold a millisecond, not single packets', () => {
  const rate = 62.5 * MEGABYTE
  const sent = drive(new Pacer(MTU), rate, rate / 10, 200_000, 1)
  const trains = sent.slice(1).map(([, bytes]) => bytes)
  assert.ok(Math.min(...trains) >= 26 * MTU, `smallest train ${Math.min(...trains)}`)
})

test('an idle time saves up one burst, not more', () => {
  const pacer = new Pacer(MTU)
  const rate = MEGABYTE
  drive(pacer, rate, 100_000, 10_000, 1_000)
  assert.equal(pacer.budgetBytes(60_000_000, rate, 100_000), 10 * MTU)
})

test('a burst is never larger than the window', () => {
  const pacer = new Pacer(MTU)
  assert.equal(pacer.budgetBytes(1_000_000, MEGABYTE, 4 * MTU), 4 * MTU)
})

test('after the first ten packets, a small window goes out in parts: a short queue holds no more', () => {
  const pacer = new Pacer(MTU)
  const windowBytes = 12 * MTU
  const rate = MEGABYTE / 8
  pacer.onSent(pacer.budgetBytes(0, rate, windowBytes), 0)
  const idleUs = 10_000_000
  assert.equal(pacer.budgetBytes(idleUs, rate, windowBytes), 3 * MTU)
  pacer.onSent(3 * MTU, idleUs)
  assert.equal(
    pacer.budgetBytes(2 * idleUs, rate, 4 * MTU),
    2 * MTU,
    'two packets always: receivers acknowledge every other one',
  )
})

test('many probes in a row do not silence the path for long', () => {
  const pacer = new Pacer(MTU)
  for (let i = 0; i < 1_000; i += 1) pacer.onSent(MTU, 0)
  const waitUs = pacer.nextSendUs(0, MEGABYTE, 100_000)
  assert.ok(waitUs > 60_000 && waitUs < 70_000, `waits ${waitUs} us for at most 64 KB of debt`)
})

test('a probe sent without budget is paid for before the next train', () => {
  const pacer = new Pacer(MTU)
  const rate = MEGABYTE
  while (pacer.budgetBytes(0, rate, 100_000) >= MTU) pacer.onSent(MTU, 0)
  const usualUs = pacer.nextSendUs(0, rate, 100_000)
  pacer.onSent(MTU, 0)
  assert.equal(pacer.nextSendUs(0, rate, 100_000) - usualUs, MTU)
})

// spec: RFC 9002 §7.7#2
test('over any span no more than one burst plus rate times span is released', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(5_000), fc.boolean()), { minLength: 1, maxLength: 200 }),
      fc.integer({ min: 1_000, max: 500 * MEGABYTE }),
      (steps, rate) => {
        const pacer = new Pacer(MTU)
        const windowBytes = 10 * MEGABYTE
        const burstBytes = Math.max(10 * MTU, Math.min(rate / 250, 65_536), rate / 1_000)
        let nowUs = 0
        const sent: [number, number][] = []
        for (const [pauseUs, isGreedy] of steps) {
          nowUs += pauseUs
          let bytes = 0
          let budget = pacer.budgetBytes(nowUs, rate, windowBytes)
          while (budget >= MTU && (isGreedy || bytes === 0)) {
            pacer.onSent(MTU, nowUs)
            bytes += MTU
            budget = pacer.budgetBytes(nowUs, rate, windowBytes)
          }
          sent.push([nowUs, bytes])
        }
        for (let i = 0; i < sent.length; i += 1) {
          let bytes = 0
          for (let j = i; j < sent.length; j += 1) {
            bytes += sent[j]?.[1] ?? 0
            const spanUs = (sent[j]?.[0] ?? 0) - (sent[i]?.[0] ?? 0)
            assert.ok(bytes <= burstBytes + (rate * spanUs) / 1e6 + 1, `${bytes} bytes in ${spanUs} us`)
          }
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('when the pacer says that bytes may leave now, they may: a fraction of a byte never makes a driver spin', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 1_000, max: 1e9, noNaN: true }),
      fc.array(fc.tuple(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 1_452 })), {
        minLength: 1,
        maxLength: 50,
      }),
      (rate, steps) => {
        const pacer = new Pacer(MTU)
        let nowUs = 0
        for (const [pauseUs, bytes] of steps) {
          nowUs += pauseUs
          if (pacer.budgetBytes(nowUs, rate, MEGABYTE) > 0) pacer.onSent(bytes, nowUs)
          const nextUs = pacer.nextSendUs(nowUs, rate, MEGABYTE)
          assert.ok(nextUs > nowUs || pacer.budgetBytes(nowUs, rate, MEGABYTE) > 0)
          nowUs = nextUs
          assert.ok(pacer.budgetBytes(nowUs, rate, MEGABYTE) > 0 || pacer.nextSendUs(nowUs, rate, MEGABYTE) > nowUs)
        }
      },
    ),
    { numRuns: 300 },
  )
})

/** Wakes each millisecond but for one pause; returns what was sent by then. */
function sentWithPause(pacer: Pacer, rate: number, untilUs: number, pauseUs: readonly [number, number]): number {
  let sent = 0
  for (let nowUs = 0; nowUs <= untilUs; nowUs += 1_000) {
    if (nowUs > pauseUs[0] && nowUs < pauseUs[1]) continue
    while (pacer.budgetBytes(nowUs, rate, rate) >= MTU) {
      pacer.onSent(MTU, nowUs)
      sent += MTU
    }
    pacer.nextSendUs(nowUs, rate, rate)
  }
  return sent
}

test('a pacer that makes up repays a pause of the driver within as much time again, at no more than twice the rate', () => {
  const rate = 12.5 * MEGABYTE
  const burst = 4_000
  const at = (untilUs: number): number => sentWithPause(new Pacer(MTU, true), rate, untilUs, [100_000, 130_000])
  const whole = (us: number): number => (rate * us) / 1e6
  assert.ok(Math.abs(at(170_000) - whole(170_000)) < whole(burst), `${at(170_000)} bytes after 170 ms`)
  assert.ok(at(140_000) - at(129_000) <= whole(2 * 11_000 + burst), 'no burst')
  const without = sentWithPause(new Pacer(MTU), rate, 170_000, [100_000, 130_000])
  assert.ok(without < whole(170_000 - 20_000), 'without it the time is lost')
})

test('what is owed for a pause is limited, and nothing is owed for a time in which nobody wanted to send', () => {
  const rate = 12.5 * MEGABYTE
  const long = sentWithPause(new Pacer(MTU, true), rate, 3_000_000, [100_000, 2_000_000])
  assert.ok(long < (rate * (3_000_000 - 1_900_000 + 60_000)) / 1e6, `${long} bytes`)
  const pacer = new Pacer(MTU, true)
  const before = sentWithPause(pacer, rate, 100_000, [Infinity, Infinity])
  assert.ok(before > 0)
  pacer.onSent(0, 100_000)
  // The timer is answered, then there is nothing to send for a second.
  pacer.budgetBytes(101_000, rate, rate)
  pacer.budgetBytes(1_101_000, rate, rate)
  let sent = 0
  for (let nowUs = 1_101_000; nowUs <= 1_111_000; nowUs += 1_000) {
    while (pacer.budgetBytes(nowUs, rate, rate) >= MTU) {
      pacer.onSent(MTU, nowUs)
      sent += MTU
    }
    pacer.nextSendUs(nowUs, rate, rate)
  }
  assert.ok(sent <= (rate * 15_000) / 1e6, `${sent} bytes in 10 ms`)
})
