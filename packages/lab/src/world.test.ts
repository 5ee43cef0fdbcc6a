import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ecn, type Micros, type PathTuple } from '@quicether/transport'
import { type Host, type LinkOptions, LivenessError, type NatOptions, World } from './index.ts'

interface Arrival {
  readonly atUs: Micros
  readonly bytes: Uint8Array
  readonly tuple: PathTuple
  readonly ecn: number
}

interface Pair {
  readonly world: World
  readonly client: Host
  readonly server: Host
  readonly arrivals: Arrival[]
  readonly clientPort: number
  readonly clientArrivals: Arrival[]
  send(length: number, ecn?: number): void
}

/** A client behind the link under test and a server with a perfect one. */
function pair(
  options: LinkOptions,
  { seed = 1, nat }: { seed?: number; nat?: Omit<NatOptions, 'publicAddress'> } = {},
): Pair {
  const world = new World({ seed, startUs: 0 })
  const client = world.addHost('client')
  const server = world.addHost('server')
  const translator = nat === undefined ? undefined : world.addNat({ ...nat, publicAddress: '198.51.100.1' })
  client.addInterface('wifi', {
    addresses: ['10.0.0.2'],
    link: world.addLink('wifi', options),
    ...(translator === undefined ? {} : { nat: translator }),
  })
  server.addInterface('eth0', { addresses: ['203.0.113.1'], link: world.addLink('server') })
  const arrivals: Arrival[] = []
  const clientArrivals: Arrival[] = []
  const record =
    (into: Arrival[]) =>
    (datagram: { bytes: Uint8Array; length: number; ecn: number }, tuple: PathTuple, atUs: Micros) => {
      into.push({ atUs, bytes: datagram.bytes.slice(0, datagram.length), tuple, ecn: datagram.ecn })
    }
  server.bind(4433, record(arrivals))
  const clientPort = client.bind(0, record(clientArrivals))
  let sent = 0
  return {
    world,
    client,
    server,
    arrivals,
    clientPort,
    clientArrivals,
    send: (length, ecn = Ecn.NotEct) => {
      const bytes = new Uint8Array(length).fill(sent)
      if (length > 0) bytes[0] = sent++ & 0xff
      client.send(client.tuple('10.0.0.2', clientPort, '203.0.113.1', 4433), bytes, 0, length, ecn, world.nowUs)
    },
  }
}

const ids = (arrivals: readonly Arrival[]): number[] => arrivals.map(({ bytes }) => bytes[0] as number)

test('a rate and a delay decide when a datagram arrives', () => {
  const { world, arrivals, send } = pair({ rateBitsPerSecond: 1e6, delayUs: 10_000 })
  send(972) // 1000 bytes with headers: 8 ms at 1 Mbit/s
  send(972)
  world.run(1e6)
  assert.deepEqual(
    arrivals.map(({ atUs }) => atUs),
    [18_000, 26_000],
  )
  assert.equal(world.pool.inUse, 0)
})

test('a full queue drops its tail, and a limited link delivers no more than its rate', () => {
  const { world, arrivals, send } = pair({ rateBitsPerSecond: 8e6, queueBytes: 10_000 })
  for (let i = 0; i < 100; i++) send(972)
  world.run(1e6)
  assert.equal(arrivals.length, 10)
  const pipe = world.links[0]?.up
  assert.equal(pipe?.stats.tailDropped, 90)
  assert.ok((pipe?.stats.queueBytesMax ?? 0) <= 10_000)
})

test('packets larger than the MTU vanish, others pass', () => {
  const { world, arrivals, send } = pair({ mtuBytes: 1_400 })
  send(1_372)
  send(1_373)
  world.run(1e6)
  assert.deepEqual(ids(arrivals), [0])
})

test('losses come at the asked rate, alone or in bursts', () => {
  const lossOf = (options: LinkOptions): { ratio: number; runs: number } => {
    const { world, arrivals, send } = pair(options)
    for (let i = 0; i < 4_000; i++) {
      send(100)
      world.run(10)
    }
    world.run(1e6)
    const lost = 4_000 - arrivals.length
    const pipe = world.links[0]?.up
    assert.equal(pipe?.stats.lost, lost)
    let runs = 0
    let last = -1
    for (const id of ids(arrivals)) {
      if (((id - last) & 0xff) !== 1) runs++
      last = id
    }
    return { ratio: lost / 4_000, runs: lost / Math.max(1, runs) }
  }
  const alone = lossOf({ lossRatio: 0.05 })
  assert.ok(alone.ratio > 0.035 && alone.ratio < 0.065, `${alone.ratio}`)
  assert.ok(alone.runs < 1.3, `mean run ${alone.runs}`)
  const bursts = lossOf({ burst: { enterRatio: 0.01, leaveRatio: 0.2, lossRatio: 1 } })
  assert.ok(bursts.ratio > 0.025 && bursts.ratio < 0.08, `${bursts.ratio}`)
  assert.ok(bursts.runs > 3, `mean run ${bursts.runs}`)
})

test('jitter keeps the order; reordering, duplication and corruption do what they say', () => {
  const run = (options: LinkOptions): { got: number[]; world: World; arrivals: Arrival[] } => {
    const { world, arrivals, send } = pair(options)
    for (let i = 0; i < 200; i++) {
      send(50)
      world.run(100)
    }
    world.run(1e6)
    assert.equal(world.pool.inUse, 0)
    return { got: ids(arrivals), world, arrivals }
  }
  const inOrder = Array.from({ length: 200 }, (_, i) => i)
  assert.deepEqual(run({ delayUs: 1_000, jitterUs: 5_000 }).got, inOrder)
  const reordered = run({ reorderRatio: 0.2, reorderDelayUs: 2_000 }).got
  assert.notDeepEqual(reordered, inOrder)
  assert.deepEqual(
    [...reordered].sort((a, b) => a - b),
    inOrder,
  )
  const duplicated = run({ duplicateRatio: 0.3 })
  assert.equal(duplicated.got.length, 200 + (duplicated.world.links[0]?.up.stats.duplicated ?? 0))
  assert.deepEqual(
    [...new Set(duplicated.got)].sort((a, b) => a - b),
    inOrder,
  )
  const corrupted = run({ corruptRatio: 0.5 })
  const damaged = corrupted.arrivals.filter(({ bytes }, i) =>
    bytes.some((byte, at) => byte !== (at === 0 ? i : i & 0xff)),
  ).length
  const count = corrupted.world.links[0]?.up.stats.corrupted ?? 0
  assert.ok(damaged > 50 && damaged <= count)
})

test('a queue above its threshold marks ECT and leaves the others alone; a bleaching hop clears ECN', () => {
  const { world, arrivals, send } = pair({ rateBitsPerSecond: 1e6, ecnThresholdBytes: 2_500 })
  for (let i = 0; i < 5; i++) send(972, Ecn.Ect0)
  send(972, Ecn.NotEct)
  world.run(1e6)
  assert.deepEqual(
    arrivals.map(({ ecn }) => ecn),
    [Ecn.Ect0, Ecn.Ect0, Ecn.Ect0, Ecn.Ce, Ecn.Ce, Ecn.NotEct],
  )
  const bleached = pair({ bleachesEcn: true })
  bleached.send(10, Ecn.Ect0)
  bleached.world.run(1e6)
  assert.equal(bleached.arrivals[0]?.ecn, Ecn.NotEct)
})

test('a cut link swallows both directions until it is mended', () => {
  const { world, arrivals, send } = pair({})
  const link = world.links[0]
  link?.cut()
  send(10)
  world.run(1_000)
  assert.equal(arrivals.length, 0)
  link?.mend()
  send(10)
  world.run(1_000)
  assert.deepEqual(ids(arrivals), [1])
})

test('asymmetric links give each direction its own options', () => {
  const world = new World({ seed: 1 })
  const link = world.addLink('adsl', {
    delayUs: 5_000,
    up: { rateBitsPerSecond: 1e6 },
    down: { rateBitsPerSecond: 16e6 },
  })
  assert.deepEqual([link.up.settings.rateBitsPerSecond, link.down.settings.rateBitsPerSecond], [1e6, 16e6])
  assert.equal(link.down.settings.delayUs, 5_000)
  link.set({ delayUs: 9_000 })
  link.down.set({ rateBitsPerSecond: 1e5 })
  assert.equal(link.down.settings.delayUs, 9_000)
  link.restore()
  assert.equal(link.down.settings.rateBitsPerSecond, 16e6)
  assert.throws(() => link.set({ lossRatio: 2 }), /lossRatio is 2, must be between 0 and 1/)
  assert.throws(() => link.set({ rateBitsPerSecond: 0 }), /use cut\(\)/)
  assert.throws(() => link.set({ delayUs: -1 }), /delayUs is -1/)
})

test('an interface that is down fails or swallows, as asked, and tells its host', () => {
  const { world, client, arrivals, send, clientPort } = pair({})
  const changes: string[] = []
  client.onInterfaceChange = (changed) => changes.push(`${changed.name} ${changed.downMode ?? 'up'}`)
  const tuple = client.tuple('10.0.0.2', clientPort, '203.0.113.1', 4433)
  client.interface('wifi').down('error')
  assert.equal(client.send(tuple, new Uint8Array(5), 0, 5, 0, world.nowUs), 'unreachable')
  assert.equal(client.defaultAddress(), undefined)
  client.interface('wifi').down('silent')
  assert.equal(client.send(tuple, new Uint8Array(5), 0, 5, 0, world.nowUs), 'sent')
  client.interface('wifi').up()
  send(5)
  world.run(1_000)
  assert.equal(arrivals.length, 1)
  client.interface('wifi').addAddress('10.0.0.9')
  client.interface('wifi').removeAddress('10.0.0.2')
  assert.equal(client.send(tuple, new Uint8Array(5), 0, 5, 0, world.nowUs), 'unreachable')
  assert.deepEqual(changes, ['wifi error', 'wifi silent', 'wifi up', 'wifi up', 'wifi up'])
  assert.equal(world.timeline('interface'), '0s client wifi down\n0s client wifi down\n0s client wifi up')
  assert.throws(() => client.interface('lte'), /has no interface lte, only wifi/)
})

test('IPv6 hosts reach each other, with their larger header', () => {
  const world = new World({ seed: 1, startUs: 0 })
  const [a, b] = [world.addHost('a'), world.addHost('b')]
  a.addInterface('eth0', { addresses: ['10.0.0.1', '2001:db8::1'], link: world.addLink('a', { mtuBytes: 1_280 }) })
  b.addInterface('eth0', { addresses: ['2001:db8::2'], link: world.addLink('b') })
  assert.equal(a.defaultAddress('2001:db8::2'), '2001:db8::1')
  let received = 0
  b.bind(53, () => received++)
  const tuple = a.tuple(
    '2001:db8::1',
    a.bind(0, () => {}),
    '2001:db8::2',
    53,
  )
  a.send(tuple, new Uint8Array(1_232), 0, 1_232, 0, 0)
  a.send(tuple, new Uint8Array(1_233), 0, 1_233, 0, 0)
  world.run(1e6)
  assert.equal(received, 1)
  assert.throws(
    () => b.addInterface('eth1', { addresses: ['10.0.0.1'], link: world.addLink('c') }),
    /already belongs to eth0 of a/,
  )
})

/** Sends from the inside, then tries answers from three places; returns which of them got in. */
function whoGetsIn(kind: 'full-cone' | 'restricted' | 'symmetric'): string[] {
  const { world, server, arrivals, clientArrivals, send } = pair({}, { nat: { kind } })
  const stranger = world.addHost('stranger')
  stranger.addInterface('eth0', { addresses: ['192.0.2.1'], link: world.addLink('stranger') })
  stranger.bind(9, () => {})
  server.bind(9999, () => {})
  send(10)
  world.run(1_000)
  const tuple = (arrivals[0] as Arrival).tuple
  assert.equal(tuple.remoteAddress, '198.51.100.1')
  const reply = (host: Host, address: string, port: number): void => {
    host.send(host.tuple(address, port, tuple.remoteAddress, tuple.remotePort), new Uint8Array(1), 0, 1, 0, world.nowUs)
  }
  reply(server, '203.0.113.1', 4433)
  reply(server, '203.0.113.1', 9999)
  reply(stranger, '192.0.2.1', 9)
  world.run(1_000)
  return clientArrivals.map((arrival) => `${arrival.tuple.remoteAddress}:${arrival.tuple.remotePort}`)
}

test('NATs let in whom their kind lets in', () => {
  assert.deepEqual(whoGetsIn('full-cone'), ['203.0.113.1:4433', '203.0.113.1:9999', '192.0.2.1:9'])
  assert.deepEqual(whoGetsIn('restricted'), ['203.0.113.1:4433'])
  assert.deepEqual(whoGetsIn('symmetric'), ['203.0.113.1:4433'])
})

test('a cone NAT keeps one public port for all destinations, a symmetric one takes another for each', () => {
  for (const [kind, isSame] of [
    ['full-cone', true],
    ['restricted', true],
    ['symmetric', false],
  ] as const) {
    const { world, client, server, arrivals, send, clientPort } = pair({}, { nat: { kind } })
    const second: PathTuple[] = []
    server.bind(5555, (_datagram, tuple) => second.push(tuple))
    send(1)
    client.send(client.tuple('10.0.0.2', clientPort, '203.0.113.1', 5555), new Uint8Array(1), 0, 1, 0, world.nowUs)
    world.run(1_000)
    assert.equal(arrivals[0]?.tuple.remotePort === second[0]?.remotePort, isSame, kind)
  }
})

test('a NAT forgets: on demand, after silence, and with a new public address', () => {
  const { world, arrivals, send } = pair({}, { nat: { kind: 'restricted', idleUs: 5_000_000 } })
  const nat = world.nats[0]
  const ports = (): number[] => arrivals.map(({ tuple }) => tuple.remotePort)
  send(1)
  send(1)
  world.run(1_000)
  assert.equal(new Set(ports()).size, 1)
  nat?.rebind()
  send(1)
  world.run(6_000_000)
  assert.equal(new Set(ports()).size, 2)
  send(1)
  world.run(1_000)
  assert.equal(new Set(ports()).size, 3, 'the mapping expired')
  nat?.rebind('198.51.100.77')
  send(1)
  world.run(1_000)
  assert.equal(arrivals.at(-1)?.tuple.remoteAddress, '198.51.100.77')
  assert.equal(nat?.stats.rebindings, 2)
})

test('a forwarded port lets strangers in and survives a rebinding', () => {
  const { world, server, clientArrivals, clientPort } = pair({}, { nat: { kind: 'symmetric' } })
  const nat = world.nats[0]
  nat?.forward(4000, '10.0.0.2', clientPort)
  nat?.rebind()
  server.send(server.tuple('203.0.113.1', 4433, '198.51.100.1', 4000), new Uint8Array(1), 0, 1, 0, world.nowUs)
  world.run(1_000)
  assert.equal(clientArrivals.length, 1)
  assert.throws(() => nat?.forward(4000, '10.0.0.3', 1), /port 4000 of NAT 198.51.100.1 is taken/)
})

test('a NAT never holds more mappings than it may', () => {
  const { world, client } = pair({}, { nat: { kind: 'restricted', mappingsMax: 8 } })
  for (let port = 1; port <= 50; port++) {
    client.send(client.tuple('10.0.0.2', port, '203.0.113.1', 4433), new Uint8Array(1), 0, 1, 0, world.nowUs)
    world.run(10)
  }
  assert.equal(world.nats[0]?.mappings, 8)
})

test('the same seed gives the same run byte for byte, another seed another run', () => {
  const run = (seed: number): string => {
    const { world, send } = pair(
      {
        rateBitsPerSecond: 5e6,
        delayUs: 3_000,
        jitterUs: 2_000,
        lossRatio: 0.1,
        duplicateRatio: 0.1,
        corruptRatio: 0.1,
        reorderRatio: 0.1,
      },
      { seed },
    )
    for (let i = 0; i < 300; i++) {
      send(200 + i)
      world.run(500)
    }
    world.run(1e6)
    return `${world.digest.hex()} ${world.steps}`
  }
  assert.equal(run(7), run(7))
  assert.notEqual(run(7), run(8))
})

test('waiting in vain names the seed and what was awaited', () => {
  const world = new World({ seed: 42 })
  world.note('test', 'something happened')
  world.after(5_000_000, () => {})
  assert.throws(
    () => world.until(() => false, { withinUs: 1_000_000, what: 'the download' }),
    (error) =>
      error instanceof LivenessError &&
      /the download did not come true: not within 1s \(seed 42/.test(error.message) &&
      /something happened/.test(error.message),
  )
  assert.throws(() => world.until(() => false, { withinUs: 1e9 }), /nothing is left to happen/)
})

test('a world that spins without time passing is stopped', () => {
  const world = new World({ seed: 1 })
  const spin = (): void => world.after(0, spin)
  spin()
  assert.throws(() => world.run(1), /time stands still/)
})
