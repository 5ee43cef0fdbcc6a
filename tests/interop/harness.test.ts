/** The harness itself: the proxy does what it is told, the wire view reads real packets, and the judge can fail. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { test } from 'node:test'
import { bodyChunks, bodyPart, bodySha256 } from './body.ts'
import type { Evidence } from './case.ts'
import { cases } from './cases.ts'
import { VERSION_1, VERSION_2, viewDatagram } from './datagram-view.ts'
import { type Impairments, LossyProxy } from './lossy-proxy.ts'
import { peers } from './peers.ts'
import type { ClientConnectionFacts } from './spec.ts'
import { WireFacts } from './wire-facts.ts'

function initial(version: number, token: number, payload: number, sourceCid = 'c1c2c3c4c5c6c7c8'): Buffer {
  const first = version === VERSION_2 ? 0xd0 : 0xc0
  const head = Buffer.alloc(5)
  head[0] = first
  head.writeUInt32BE(version, 1)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(0x4000 | payload)
  const cids = Buffer.concat([Buffer.from([8]), Buffer.alloc(8, 0xd0), Buffer.from([8]), Buffer.from(sourceCid, 'hex')])
  return Buffer.concat([head, cids, Buffer.from([token]), Buffer.alloc(token, 0x77), length, Buffer.alloc(payload, 1)])
}

function handshake(payload: number): Buffer {
  const packet = initial(VERSION_1, 0, payload)
  packet[0] = 0xe0
  // A Handshake packet has no token length byte.
  return Buffer.concat([packet.subarray(0, 23), packet.subarray(24)])
}

test('coalesced packets are told apart, with versions, tokens and connection IDs', () => {
  const short = Buffer.concat([Buffer.from([0x40]), Buffer.alloc(8, 0xab), Buffer.alloc(30)])
  const datagram = Buffer.concat([initial(VERSION_1, 5, 100), handshake(80), short])
  const packets = viewDatagram(datagram, 8)
  assert.deepEqual(
    packets.map((p) => p.kind),
    ['initial', 'handshake', 'short'],
  )
  assert.equal(packets[0]?.tokenBytes, 5)
  assert.equal(packets[2]?.destinationCid, 'ab'.repeat(8))
  assert.equal(viewDatagram(initial(VERSION_2, 0, 50), 8)[0]?.kind, 'initial')
})

test('any cut of a datagram is read without an exception', () => {
  const datagram = Buffer.concat([initial(VERSION_1, 5, 100), handshake(80)])
  for (let length = 0; length <= datagram.length; length += 1) viewDatagram(datagram.subarray(0, length), 8)
})

test('a server that sends more than three times what it got is found out, until the address is validated', () => {
  const facts = new WireFacts()
  const hello = initial(VERSION_1, 0, 1100)
  facts.onFromClient(hello, 'a')
  facts.onDeliveredToServer(hello, 'a')
  facts.onFromServer(Buffer.alloc(3 * hello.length, 0xff), 'a', false)
  assert.equal(facts.amplificationExcessBytes, 0)
  facts.onFromServer(Buffer.alloc(10, 0xff), 'a', false)
  assert.equal(facts.amplificationExcessBytes, 10)

  const validated = new WireFacts()
  validated.onDeliveredToServer(hello, 'a')
  validated.onDeliveredToServer(handshake(40), 'a')
  validated.onFromServer(Buffer.alloc(100_000, 0xff), 'a', false)
  assert.equal(validated.amplificationExcessBytes, 0)
})

test('the body can be made in any pieces and is the same', () => {
  const whole = bodyPart(0, 50_000)
  for (const chunkBytes of [1000, 8192, 65_536]) {
    assert.deepEqual(Buffer.concat([...bodyChunks(50_000, chunkBytes)]), Buffer.from(whole))
  }
  assert.equal(bodySha256(50_000), createHash('sha256').update(whole).digest('hex'))
})

async function throughProxy(
  impairments: Impairments,
  count: number,
): Promise<{ got: string[]; proxy: LossyProxy; ports: Set<number> }> {
  const server = createSocket('udp4')
  const got: string[] = []
  const ports = new Set<number>()
  server.on('message', (bytes, from) => {
    got.push(bytes.toString())
    ports.add(from.port)
    server.send(bytes, from.port, from.address)
  })
  await listen(server)
  const proxy = await LossyProxy.open('127.0.0.1', server.address().port, impairments)
  const client = createSocket('udp4')
  await listen(client)
  let answers = 0
  client.on('message', () => {
    answers += 1
  })
  try {
    for (let index = 0; index < count; index += 1) {
      const seen = proxy.facts.toServer.datagrams
      client.send(`datagram ${index}`, proxy.port, '127.0.0.1')
      while (proxy.facts.toServer.datagrams === seen) await new Promise((resolve) => setImmediate(resolve))
    }
    const due = () => count - proxy.facts.toServer.dropped + proxy.facts.toServer.duplicated
    while (got.length < due()) await new Promise((resolve) => setTimeout(resolve, 1))
    assert.ok(answers <= due())
    return { got, proxy, ports }
  } finally {
    client.close()
    server.close()
    proxy.close()
  }
}

function listen(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve))
}

test('the same seed loses the same datagrams', async () => {
  const once = await throughProxy({ lossRatio: 0.3, seed: 42 }, 60)
  const again = await throughProxy({ lossRatio: 0.3, seed: 42 }, 60)
  const other = await throughProxy({ lossRatio: 0.3, seed: 43 }, 60)
  assert.deepEqual(once.got, again.got)
  assert.notDeepEqual(once.got, other.got)
  assert.equal(once.proxy.facts.toServer.dropped, 60 - once.got.length)
})

test('named datagrams are dropped and corrupted ones arrive changed', async () => {
  const named = await throughProxy({ drop: { toServer: [0, 2] } }, 4)
  assert.deepEqual(named.got, ['datagram 1', 'datagram 3'])
  const corrupt = await throughProxy({ corruptRatio: 1 }, 3)
  assert.equal(corrupt.got.length, 3)
  assert.ok(corrupt.got.every((text, index) => text !== `datagram ${index}`))
})

test('a rebinding shows the server a new port', async () => {
  const { ports, proxy } = await throughProxy({ rebindAfterBytes: [40] }, 8)
  assert.equal(ports.size, 2)
  assert.equal(proxy.facts.rebinds, 1)
})

const idleConnection: ClientConnectionFacts = {
  version: 0x0a0a0a0a,
  alpn: null,
  resumed: false,
  earlyData: false,
  handshakeComplete: true,
  cipher: null,
  closed: null,
  responses: [],
  migrations: 0,
  handshakeMs: 1,
}

/** A run in which everything arrived whole but no feature was used and the network did nothing. */
function idleEvidence(): Evidence {
  const peer = peers.aioquic
  assert.ok(peer !== undefined)
  const qlog = { files: 1, keyUpdates: 0, packetsLost: 0, pathChallenges: 0 }
  return {
    client: { ok: true, connections: [idleConnection] },
    server: [],
    wire: new WireFacts(),
    services: {},
    clientQlog: qlog,
    serverQlog: qlog,
    clientPeer: peer,
    serverPeer: peer,
  }
}

// This case asks only for whole bodies under small windows; the common checks judge it.
const judgedByBodiesOnly = ['small-windows']

for (const row of cases) {
  if (judgedByBodiesOnly.includes(row.name)) continue
  test(`the case ${row.name} fails when its feature was not used`, () => {
    assert.ok(row.judge(idleEvidence()).some((reason) => reason !== false))
  })
}
