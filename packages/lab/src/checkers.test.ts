import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writeLongHeader } from '@quicether/wire'
import { PacketType, Version } from '@quicether/wire'
import { AmplificationChecker, InitialSizeChecker } from './checkers.ts'
import type { Datagram } from './datagram.ts'
import type { Host } from './host.ts'
import { World } from './world.ts'

const cid = new Uint8Array(8).fill(7)

/** A datagram of one long-header packet that fills it. */
function datagram(length: number, type: PacketType, { toServer = true, token = new Uint8Array(0) } = {}): Datagram {
  const bytes = new Uint8Array(1_500)
  const pnOffset = writeLongHeader(bytes, 0, { type, version: Version.V1, dcid: cid, scid: cid, token }, 2, 1)
  const rest = length - pnOffset
  bytes[pnOffset - 2] = 0x40 | (rest >> 8)
  bytes[pnOffset - 1] = rest & 0xff
  const client = { address: '192.0.2.1', port: 5_000 }
  return {
    bytes,
    length,
    sourceAddress: toServer ? client.address : '203.0.113.1',
    sourcePort: toServer ? client.port : 4_433,
    destinationAddress: toServer ? '203.0.113.1' : client.address,
    destinationPort: toServer ? 4_433 : client.port,
    ecn: 0,
  }
}

function hosts(): { server: Host; client: Host } {
  const world = new World({ seed: 1 })
  return { server: world.addHost('server'), client: world.addHost('client') }
}

const reply = (length: number): Datagram => datagram(length, PacketType.Initial, { toServer: false })

test('a fourth byte for one received is refused before the address is validated', () => {
  const { server } = hosts()
  const checker = new AmplificationChecker(server)
  checker.onReceived(server, datagram(400, PacketType.Initial))
  checker.onSent(server, reply(1_200), 0)
  assert.throws(() => checker.onSent(server, reply(1), 0), /1201 bytes sent to 192.0.2.1:5000, which sent only 400/)
})

test('a Handshake packet or an Initial with a token from the address lifts the limit', () => {
  for (const proof of [
    datagram(100, PacketType.Handshake),
    datagram(1_200, PacketType.Initial, { token: new Uint8Array(16) }),
  ]) {
    const { server } = hosts()
    const checker = new AmplificationChecker(server)
    checker.onReceived(server, proof)
    for (let i = 0; i < 10; i++) checker.onSent(server, reply(1_200), 0)
  }
})

test('the word of the engine counts only if it sent something there before', () => {
  const { server } = hosts()
  const checker = new AmplificationChecker(server)
  checker.validated('192.0.2.1', 5_000)
  assert.throws(() => checker.onSent(server, reply(100), 0), /amplification/)
  const challenged = new AmplificationChecker(server)
  challenged.onReceived(server, datagram(50, PacketType.ZeroRtt))
  challenged.onSent(server, reply(100), 0)
  challenged.validated('192.0.2.1', 5_000)
  challenged.onSent(server, reply(1_200), 0)
})

test('what clients send is not limited, and other addresses count apart', () => {
  const { server, client } = hosts()
  const checker = new AmplificationChecker(server)
  for (let i = 0; i < 10; i++) checker.onSent(client, datagram(1_200, PacketType.Initial), 0)
  checker.onReceived(server, { ...datagram(1_200, PacketType.Initial), sourcePort: 6_000 })
  assert.throws(() => checker.onSent(server, reply(100), 0), /which sent only 0/)
})

test('a client datagram with an Initial packet below 1200 bytes is refused', () => {
  const { server, client } = hosts()
  const checker = new InitialSizeChecker(server)
  checker.onSent(client, datagram(1_200, PacketType.Initial), 0)
  checker.onSent(client, datagram(300, PacketType.Handshake), 0)
  checker.onSent(server, reply(300), 0)
  assert.throws(
    () => checker.onSent(client, datagram(1_199, PacketType.Initial), 0),
    /1199 bytes with an Initial packet/,
  )
})
