/** Fading links do what their times say, and requests over two of them are measured. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type LinkOptions, World } from './index.ts'
import { fadingPair, multipathRequests, singlePathRequests } from './requests.ts'

/** Which of many datagrams, one per millisecond, got through. */
function survivors(options: LinkOptions, count: number): boolean[] {
  const world = new World({ seed: 11, startUs: 0 })
  const client = world.addHost('client')
  const server = world.addHost('server')
  client.addInterface('wifi', { addresses: ['10.0.0.2'], link: world.addLink('wifi', options) })
  server.addInterface('eth0', { addresses: ['203.0.113.1'], link: world.addLink('server') })
  const arrived = new Array<boolean>(count).fill(false)
  let index = 0
  server.bind(4433, () => {
    arrived[index] = true
  })
  const port = client.bind(0, () => {})
  for (; index < count; index++) {
    client.send(client.tuple('10.0.0.2', port, '203.0.113.1', 4433), new Uint8Array(50), 0, 50, 0, world.nowUs)
    world.run(1_000)
  }
  return arrived
}

test('a fading link is good and bad for as long as it should be on average', () => {
  const count = 400_000
  const arrived = survivors({ fade: { goodUs: 900_000, badUs: 100_000, lossRatio: 1 } }, count)
  const lost = arrived.filter((got) => !got).length
  const fades = arrived.filter((got, at) => !got && arrived[at - 1] !== false).length
  assert.ok(Math.abs(lost / count - 0.1) < 0.02, `${lost} of ${count} lost`)
  assert.ok(Math.abs(lost / fades - 100) < 15, `mean fade of ${lost / fades} ms`)
})

test('a fade that loses only a part lets the rest through', () => {
  const arrived = survivors({ fade: { goodUs: 1_000, badUs: 1e9, lossRatio: 0.5 } }, 10_000)
  const lost = arrived.filter((got) => !got).length / arrived.length
  assert.ok(Math.abs(lost - 0.5) < 0.03, `${lost} lost`)
})

test('a fade without a sensible length is refused with the name of the link', () => {
  for (const fade of [
    { goodUs: 0, badUs: 5_000, lossRatio: 1 },
    { goodUs: 5_000, badUs: Infinity, lossRatio: 1 },
    { goodUs: 5_000, badUs: 5_000, lossRatio: 2 },
  ])
    assert.throws(() => survivors({ fade }, 1), /link wifi/)
})

test('requests over two fading links are answered sooner, at worst, than over the better one', () => {
  const options = { seed: 1, config: {}, requests: 200 }
  const alone = [singlePathRequests(options, 'a'), singlePathRequests(options, 'b')]
  const both = multipathRequests(options)
  assert.ok(both.medianUs <= both.p95Us && both.p95Us <= both.p99Us)
  assert.ok(both.sentPerByte > 1 && both.sentPerByte < 1.2, `${both.sentPerByte} bytes for each`)
  for (const report of alone) assert.ok(both.p99Us < report.p99Us, `${both.p99Us} and ${report.p99Us} us`)
})

test('on links that never fade, every request takes about as long as any other', () => {
  const { a, b } = fadingPair
  const still = { goodUs: Infinity, badUs: 0, lossRatio: 0 }
  const pair = { name: 'still', a: { ...a, fade: still }, b: { ...b, fade: still } }
  const report = multipathRequests({ seed: 1, config: {}, pair, requests: 50 })
  assert.ok(report.p99Us < 2 * report.medianUs, `${report.p99Us} and ${report.medianUs} us`)
})
