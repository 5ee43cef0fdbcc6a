import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DatagramBatch, type Micros, NEVER, type PathTuple, type TransmitBatch } from '@quicether/transport'
import { type DrivenEndpoint, EndpointDriver } from './driver.ts'
import type { Host } from './host.ts'
import { World } from './world.ts'

/** An endpoint that keeps its books and does as it is told. */
class Recorder implements DrivenEndpoint<string> {
  readonly calls: string[] = []
  readonly events: string[] = []
  readonly trains: { tuple: PathTuple; lengths: number; segment: number; count: number }[] = []
  deadlineUs: Micros = NEVER
  /** What `handleTimeout` sets the deadline to, call by call; NEVER when empty. */
  nextDeadlines: Micros[] = []

  handleDatagrams(batch: DatagramBatch, nowUs: Micros): void {
    this.calls.push(`${nowUs} received ${Array.from(batch.lengths.subarray(0, batch.count)).join(' ')}`)
  }
  handleTimeout(nowUs: Micros): void {
    this.calls.push(`${nowUs} timeout`)
    this.deadlineUs = this.nextDeadlines.shift() ?? NEVER
  }
  pollTransmit(out: TransmitBatch): boolean {
    const train = this.trains.shift()
    if (train === undefined) return false
    out.tuple = train.tuple
    out.length = train.lengths
    out.segmentSize = train.segment
    out.count = train.count
    return true
  }
  pollTimeout(): Micros {
    return this.deadlineUs
  }
  pollEvent(): string | undefined {
    return this.events.shift()
  }
}

interface Bench {
  readonly world: World
  readonly a: Host
  readonly b: Host
  readonly endpoint: Recorder
  readonly driver: EndpointDriver<string>
  readonly seen: string[]
  readonly arrived: number[]
  readonly tuple: PathTuple
}

function bench(receiveDelayUs = 0): Bench {
  const world = new World({ seed: 1, startUs: 0 })
  const [a, b] = [world.addHost('a'), world.addHost('b')]
  a.addInterface('eth0', { addresses: ['10.0.0.1'], link: world.addLink('a') })
  b.addInterface('eth0', { addresses: ['10.0.0.2'], link: world.addLink('b') })
  const seen: string[] = []
  const arrived: number[] = []
  b.bind(7, (datagram) => arrived.push(datagram.length))
  const endpoint = new Recorder()
  const driver = new EndpointDriver<string>({ host: a, port: 9, receiveDelayUs, onEvent: (event) => seen.push(event) })
  driver.attach(endpoint)
  return { world, a, b, endpoint, driver, seen, arrived, tuple: a.tuple('10.0.0.1', 9, '10.0.0.2', 7) }
}

function send({ world, b }: Bench, length: number): void {
  b.send(b.tuple('10.0.0.2', 7, '10.0.0.1', 9), new Uint8Array(length), 0, length, 0, world.nowUs)
}

test('datagrams of one moment come as one batch, events and trains are drained', () => {
  const all = bench()
  const { world, endpoint, seen, arrived, tuple } = all
  world.run(10)
  send(all, 100)
  send(all, 200)
  endpoint.events.push('one', 'two')
  endpoint.trains.push(
    { tuple, lengths: 2_500, segment: 1_200, count: 3 },
    { tuple, lengths: 50, segment: 50, count: 1 },
  )
  world.run(10)
  assert.deepEqual(endpoint.calls, ['10 received 100 200'])
  assert.deepEqual(seen, ['one', 'two'])
  assert.deepEqual(arrived, [1_200, 1_200, 100, 50])
})

test('a slow interrupt gathers what arrives meanwhile', () => {
  const all = bench(500)
  send(all, 1)
  all.world.run(300)
  send(all, 2)
  all.world.run(300)
  assert.deepEqual(all.endpoint.calls, ['500 received 1 2'])
})

test('timers fire when they are due, also when they were moved', () => {
  const { world, endpoint, driver } = bench()
  endpoint.deadlineUs = 1_000
  driver.wake()
  world.run(10)
  endpoint.deadlineUs = 400
  driver.wake()
  world.run(10)
  endpoint.nextDeadlines = [2_000]
  world.run(3_000)
  assert.deepEqual(endpoint.calls, ['400 timeout', '2000 timeout'])
})

test('a sleeping host misses timers, loses what overflows, and catches up', () => {
  const all = bench()
  const { world, endpoint, driver } = all
  world.run(1)
  endpoint.deadlineUs = 100
  driver.wake()
  driver.suspend()
  for (let i = 0; i < 80; i++) send(all, 10)
  world.run(1_000)
  assert.equal(endpoint.calls.length, 0)
  driver.resume()
  world.run(1)
  const [received = '', timeout = ''] = endpoint.calls
  assert.equal(received.split(' ').length, 2 + 64)
  assert.equal(timeout, '1001 timeout')
})

test('a busy program reads late what has waited in its socket, batch by batch and in order', () => {
  const all = bench()
  const { world, endpoint, driver } = all
  world.run(1)
  endpoint.deadlineUs = 100
  driver.wake()
  driver.beginBusy()
  for (let i = 0; i < 150; i++) send(all, 10)
  world.run(1_000)
  assert.equal(endpoint.calls.length, 0)
  driver.endBusy()
  world.run(1)
  const batches = endpoint.calls.filter((call) => call.includes('received')).map((call) => call.split(' ').length - 2)
  assert.deepEqual([batches, driver.stats.datagramsReceived], [[64, 64, 22], 150])
  assert.ok(endpoint.calls.includes('1001 timeout'))
})

test('an endpoint that breaks the contract is caught: spinning, trains without sense', () => {
  const spinning = bench()
  spinning.endpoint.deadlineUs = 5
  spinning.endpoint.nextDeadlines = new Array<Micros>(20_000).fill(5)
  spinning.driver.wake()
  assert.throws(() => spinning.world.run(10), /the endpoint of a spins at 5 us: \d+ timeouts, 0 trains/)
  for (const [train, message] of [
    [{ lengths: 0, segment: 0, count: 0 }, /a train of 0 bytes/],
    [{ lengths: 100, segment: 50, count: 3 }, /says 3 datagrams for 100 bytes in segments of 50/],
    [{ lengths: 1_000, segment: 10, count: 100 }, /at most 48 are allowed/],
  ] as const) {
    const wrong = bench()
    wrong.endpoint.trains.push({ tuple: wrong.tuple, ...train })
    assert.throws(() => wrong.world.run(1), message)
  }
})

test('a stopped driver hears nothing and its port is free again', () => {
  const all = bench()
  all.world.run(1)
  all.driver.stop()
  send(all, 10)
  all.world.run(10)
  assert.deepEqual(all.endpoint.calls, [])
  assert.equal(all.a.stats.refused, 1)
  assert.equal(
    all.a.bind(9, () => {}),
    9,
  )
})
