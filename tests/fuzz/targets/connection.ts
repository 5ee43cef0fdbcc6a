/**
 * Fuzzes a live connection: forged frames inside authentic packets from either side, damage on the wire, strangers'
 * datagrams, application calls. Another connection of the same server must not notice.
 */
import { type FuzzTarget, magnitude, promise, shape } from '../target.ts'
import { Party, SmallWorld } from './small-world.ts'
import { program, steps } from './steps.ts'

const STEPS_MAX = 24
const HONEST_BYTES = 6_000
const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

const Op = {
  Pass: 0,
  ForgeClient: 1,
  ForgeServer: 2,
  Drop: 3,
  Duplicate: 4,
  Corrupt: 5,
  StrangerToServer: 6,
  StrangerToClient: 7,
  Open: 8,
  Write: 9,
  End: 10,
  Rebind: 11,
  Misc: 12,
  ServerCall: 13,
} as const
const OPERATIONS = 14

export const connection: FuzzTarget = {
  name: 'connection',
  inputBytesMax: 700,
  shortRuns: 120,
  seeds: () => [
    input(
      [Op.Pass, 100, bytes('')],
      [Op.Open, 0, bytes('')],
      [Op.Write, 0, bytes('68656c6c6f')],
      [Op.Pass, 60, bytes('')],
      [Op.End, 0, bytes('')],
      [Op.Pass, 60, bytes('')],
    ),
    input([Op.Pass, 100, bytes('')], ...forgeries(Op.ForgeClient)),
    input([Op.Pass, 100, bytes('')], ...forgeries(Op.ForgeServer)),
    Uint8Array.from([2, ...program([Op.StrangerToServer, 9, bytes('')], [Op.Pass, 250, bytes('')])]),
    Uint8Array.from([1, ...program([Op.StrangerToServer, 9, bytes('')], [Op.Pass, 250, bytes('')])]),
    input(
      [Op.Drop, 2, bytes('')],
      [Op.Pass, 50, bytes('')],
      [Op.Corrupt, 40, bytes('')],
      [Op.Pass, 50, bytes('')],
      [Op.Duplicate, 0, bytes('')],
      [Op.Rebind, 3, bytes('')],
      [Op.Open, 1, bytes('')],
      [Op.Pass, 100, bytes('')],
    ),
    input(
      [Op.StrangerToServer, 1, bytes('c000000001 08 0102030405060708 00 00 4480 00000000')],
      [Op.StrangerToServer, 2, bytes('c01a2a3a4a 08 0102030405060708 00')],
      [Op.StrangerToClient, 0, bytes('40 0102030405060708 00000000000000000000000000000000000000000000')],
      [Op.Pass, 100, bytes('')],
    ),
    input(
      [Op.Pass, 100, bytes('')],
      [Op.Misc, 0, bytes('')],
      [Op.Open, 0, bytes('')],
      [Op.Pass, 60, bytes('')],
      [Op.Misc, 1, bytes('')],
      [Op.Misc, 2, bytes('616263')],
      [Op.Pass, 60, bytes('')],
      [Op.ServerCall, 0, bytes('61')],
      [Op.Misc, 3, bytes('')],
    ),
  ],
  dictionary: [
    '1e',
    '01',
    '0800',
    '0a0003616263',
    '0f0044d203616263',
    '040041000a',
    '05004100',
    '1000',
    '10bfffffff',
    '1100bfffffff',
    '12bfffffff',
    '140a',
    '15000a',
    '1605',
    '020a000000',
    '02bfffffff00bfffffff00',
    '0264000a01000100',
    '030a00000a010203',
    '1801000800112233445566770102030405060708090a0b0c0d0e0f10',
    '1800',
    '1901',
    '1a0102030405060708',
    '1b0102030405060708',
    '1c0a080361',
    '1d410000',
    '0700',
    '3103616263',
    '30',
    '060040036162',
    '3e00',
    '7e7500',
  ].map(bytes),
  run(data) {
    const world = new SmallWorld(data[0] ?? 0)
    startHonest(world)
    for (const { operation, argument, payload } of steps(data.subarray(1), STEPS_MAX)) {
      step(world, operation % OPERATIONS, argument, payload)
    }
    world.filter = () => true
    finishHonest(world)
    end(world)
    const closes = world.closes.filter((text) => !text.startsWith(`${Party.Honest}:`)).map(shape)
    return `${closes.sort().slice(0, 4).join('; ')} ${magnitude(world.spoiled.stats().packetsReceived)}`
  },
}

type Steps = readonly (readonly [operation: number, argument: number, payload: Uint8Array])[]
/** Mode 0: no Retry, a small certificate. */
const input = (...list: Steps) => Uint8Array.from([0, ...program(...list)])

function forgeries(operation: number): Steps {
  const frames = [
    '01',
    '0a0003616263',
    '1a0102030405060708',
    '1801000800112233445566770102030405060708090a0b0c0d0e0f10',
    '3103616263',
    '0400410003',
    '1cbfff',
  ]
  return frames.flatMap(
    (frame) =>
      [
        [operation, 0, bytes(frame)],
        [Op.Open, 0, bytes('')],
        [Op.Pass, 40, bytes('')],
      ] as const,
  )
}

function step(world: SmallWorld, operation: number, argument: number, payload: Uint8Array): void {
  const { spoiled } = world
  const stream = (argument & 3) * 4 + ((argument >> 2) & 3)
  switch (operation) {
    case Op.Pass:
      return world.run(world.nowUs + argument * 1_000)
    case Op.ForgeClient:
    case Op.ForgeServer: {
      const party = operation === Op.ForgeClient ? Party.Spoiled : Party.Server
      world.nodes[party]?.forgeries.push({ payload: payload.slice(), keepsTail: (argument & 1) === 1 })
      return world.call(() => poke(world, party))
    }
    case Op.Drop:
      return drop(world, 1 + (argument % 8))
    case Op.Duplicate:
      if (world.lastSent !== undefined) world.flying.unshift({ ...world.lastSent, atUs: world.nowUs })
      return
    case Op.Corrupt:
      return corrupt(world, argument, payload)
    case Op.StrangerToServer:
      if (payload.length === 0) return world.ghost(argument)
      return world.inject(Party.Server, datagramOf(argument, payload), world.strangerTuple(argument))
    case Op.StrangerToClient:
      return world.inject(Party.Spoiled, datagramOf(argument, payload), spoiledTuple(world))
    case Op.Open:
      return world.call(() => {
        const id = spoiled.openStream((argument & 1) === 0 ? 'bidirectional' : 'unidirectional')
        if (id !== undefined) spoiled.write(id, new Uint8Array(1 + argument * 8))
      })
    case Op.Write:
      return world.call(() => void spoiled.write(stream, payload.slice()))
    case Op.End:
      return world.call(() => endStream(world, argument, stream))
    case Op.Rebind:
      world.spoiledPort = 5_000 + argument
      return
    case Op.Misc:
      return world.call(() => misc(world, argument, payload))
    default:
      return world.call(() => serverCall(world, argument, payload))
  }
}

/** Makes a party send a packet soon, so that a forgery has one to travel in. */
function poke(world: SmallWorld, party: number): void {
  if (party === Party.Spoiled) {
    world.spoiled.sendDatagram(new Uint8Array(200))
    return
  }
  for (const peer of world.nodes[Party.Server]?.endpoint.connections() ?? []) peer.sendDatagram(new Uint8Array(200))
}

function drop(world: SmallWorld, count: number): void {
  let left = count
  world.filter = () => left-- <= 0
}

/** The next datagram of the spoiled connection is changed, or replaced when there is a payload. */
function corrupt(world: SmallWorld, argument: number, payload: Uint8Array): void {
  let isDone = false
  world.filter = ({ bytes: datagram }) => {
    if (isDone) return true
    isDone = true
    const at = (argument * 7) % datagram.length
    if (payload.length === 0) datagram[at] = (datagram[at] as number) ^ 0x41
    else datagram.set(payload.subarray(0, datagram.length - at), at)
    return true
  }
}

/** Odd arguments pad to the size of an Initial. */
function datagramOf(argument: number, payload: Uint8Array): Uint8Array {
  const datagram = new Uint8Array((argument & 1) === 1 ? Math.max(1_200, payload.length) : payload.length)
  datagram.set(payload)
  return datagram
}

function spoiledTuple(world: SmallWorld) {
  return world.lastSent === undefined ? world.strangerTuple(0) : reverse(world)
}

/** The tuple on which the spoiled client hears its server. */
function reverse(world: SmallWorld) {
  return world.spoiled.path.tuple
}

function endStream(world: SmallWorld, argument: number, stream: number): void {
  const { spoiled } = world
  const verb = argument >> 4
  if (verb % 3 === 0) spoiled.finish(stream)
  else if (verb % 3 === 1) spoiled.reset(stream, argument)
  else spoiled.stop(stream, argument)
}

function misc(world: SmallWorld, argument: number, payload: Uint8Array): void {
  const { spoiled } = world
  const verb = argument % 5
  if (verb === 0) spoiled.updateKeys()
  else if (verb === 1) spoiled.rotateCid()
  else if (verb === 2) spoiled.sendDatagram(payload.slice())
  else if (verb === 3) spoiled.close(argument, 'bye')
  else spoiled.migrate(world.strangerTuple(0), world.nowUs)
}

function serverCall(world: SmallWorld, argument: number, payload: Uint8Array): void {
  for (const peer of world.nodes[Party.Server]?.endpoint.connections() ?? []) {
    if (peer.path.tuple.remoteAddress !== '10.0.1.1') continue
    const verb = argument % 4
    if (verb === 0) {
      const id = peer.openStream('unidirectional')
      if (id !== undefined) peer.write(id, payload.slice())
    } else if (verb === 1) peer.updateKeys()
    else if (verb === 2) peer.reset(argument >> 4, 7)
    else peer.close(argument, 'gone')
  }
}

function startHonest(world: SmallWorld): void {
  const data = new Uint8Array(HONEST_BYTES)
  for (let at = 0; at < data.length; at++) data[at] = at % 251
  let sent = 0
  let id: number | undefined
  honestSenders.set(world, () => {
    world.call(() => {
      id ??= world.honest.openStream('bidirectional')
      if (id === undefined || sent === data.length) return
      sent += world.honest.write(id, data.subarray(sent))
      if (sent === data.length) world.honest.finish(id)
    })
  })
}

const honestSenders = new WeakMap<SmallWorld, () => void>()

/** The honest client gets back all it sent, whatever happened beside it. */
function finishHonest(world: SmallWorld): void {
  const sender = honestSenders.get(world)
  for (let round = 0; round < 100 && !world.isHonestEchoComplete; round++) {
    sender?.()
    world.run(world.nowUs + 40_000)
  }
  promise(world.isHonestEchoComplete, `the honest connection is stuck: ${world.closes.join('; ')}`)
  const echo = Buffer.concat(world.honestEcho)
  promise(
    echo.length === HONEST_BYTES && echo.every((byte, at) => byte === at % 251),
    'the honest bytes come back exact',
  )
}

/** Closes and lets every timer run out: nothing may be left. */
function end(world: SmallWorld): void {
  world.call(() => world.spoiled.close(0, ''))
  world.call(() => world.honest.close(0, ''))
  world.run(world.nowUs + 1_000_000)
  world.run(world.nowUs + 60_000_000)
  world.checkEmpty()
}
