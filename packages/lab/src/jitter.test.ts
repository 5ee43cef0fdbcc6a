/** What the three modes of jitter do to a row of datagrams. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type LinkOptions, World } from './index.ts'

const DELAY_US = 50_000
const COUNT = 4_000
/** 1000 bytes on the wire take 1 ms. */
const RATE = 8e6
const WIRE_BYTES = 1_000
const PAYLOAD_BYTES = WIRE_BYTES - 28

interface Arrival {
  readonly index: number
  readonly sentAtUs: number
  readonly atUs: number
}

/** Sends a datagram each `periodUs` and notes when each arrives. */
function arrivals(options: LinkOptions, periodUs: number, seed = 3): Arrival[] {
  const world = new World({ seed, startUs: 0 })
  const client = world.addHost('client')
  const server = world.addHost('server')
  client.addInterface('wifi', { addresses: ['10.0.0.2'], link: world.addLink('wifi', options) })
  server.addInterface('eth0', { addresses: ['203.0.113.1'], link: world.addLink('server') })
  const found: Arrival[] = []
  server.bind(4433, (datagram, _tuple, atUs) => {
    const index = new DataView(datagram.bytes.buffer, datagram.bytes.byteOffset).getUint32(0)
    found.push({ index, sentAtUs: index * periodUs, atUs })
  })
  const port = client.bind(0, () => {})
  const bytes = new Uint8Array(PAYLOAD_BYTES)
  for (let index = 0; index < COUNT; index++) {
    world.at(index * periodUs, () => {
      new DataView(bytes.buffer).setUint32(0, index)
      client.send(client.tuple('10.0.0.2', port, '203.0.113.1', 4433), bytes, 0, bytes.length, 0, world.nowUs)
    })
  }
  world.run(COUNT * periodUs + 10_000_000)
  assert.equal(found.length, COUNT)
  return found
}

const isOrdered = (all: readonly Arrival[]): boolean =>
  all.every(({ index }, at) => at === 0 || index > (all[at - 1] as Arrival).index)

function moments(values: readonly number[]): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { mean, deviation: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) }
}

test('jitter that overtakes is normally distributed around the delay', () => {
  const all = arrivals({ rateBitsPerSecond: RATE, delayUs: DELAY_US, jitterUs: 8_000, jitterMode: 'overtaking' }, 2_000)
  assert.ok(!isOrdered(all))
  const delays = all.map(({ atUs, sentAtUs }) => atUs - sentAtUs - 1_000)
  const { mean, deviation } = moments(delays)
  assert.ok(Math.abs(mean - DELAY_US) < 500, `mean ${mean}`)
  assert.ok(Math.abs(deviation - 8_000) < 400, `deviation ${deviation}`)
  // 68 % of a normal distribution lie within one deviation; of a uniform one it would be 58 %.
  const within = delays.filter((delay) => Math.abs(delay - DELAY_US) < 8_000).length / COUNT
  assert.ok(Math.abs(within - 0.683) < 0.03, `${within} within one deviation`)
})

test('normal jitter keeps the order and spaces datagrams by the rate', () => {
  const all = arrivals({ rateBitsPerSecond: RATE, delayUs: DELAY_US, jitterUs: 8_000, jitterMode: 'normal' }, 2_000)
  assert.ok(isOrdered(all))
  for (let at = 1; at < all.length; at++) {
    const gapUs = (all[at] as Arrival).atUs - (all[at - 1] as Arrival).atUs
    assert.ok(gapUs >= 999, `datagrams ${at - 1} and ${at} are ${gapUs} us apart, each takes 1000 us`)
  }
  const { mean } = moments(all.map(({ atUs, sentAtUs }) => atUs - sentAtUs - 1_000))
  assert.ok(mean > DELAY_US, 'late datagrams hold up those behind them')
})

test('normal jitter costs a full link none of its rate', () => {
  const queueBytes = COUNT * WIRE_BYTES
  const options = { rateBitsPerSecond: RATE, delayUs: DELAY_US, jitterUs: 8_000, queueBytes } as const
  const all = arrivals({ ...options, jitterMode: 'normal' }, 1)
  const lastUs = (all.at(-1) as Arrival).atUs
  assert.ok(lastUs < COUNT * 1_000 + DELAY_US + 5 * 8_000, `the last one came after ${lastUs} us`)
})

test('a delay with more jitter than delay never sends into the past', () => {
  for (const jitterMode of ['normal', 'overtaking'] as const) {
    const all = arrivals({ rateBitsPerSecond: RATE, delayUs: 5_000, jitterUs: 20_000, jitterMode }, 2_000)
    assert.ok(all.every(({ atUs, sentAtUs }) => atUs - sentAtUs >= 1_000))
  }
})

test('without a rate, overtaking jitter works, too', () => {
  const all = arrivals({ delayUs: DELAY_US, jitterUs: 8_000, jitterMode: 'overtaking' }, 2_000)
  assert.ok(!isOrdered(all))
})
