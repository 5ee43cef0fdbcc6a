/** Damaged, foreign and hostile captures: a clear error with the offset, and all that was readable before it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTuple } from '@quicether/transport'
import {
  interfaceBlock,
  packetBlockLength,
  secretsBlock,
  sectionHeaderBlock,
  writePacketBlock,
} from '../capture/pcapng-blocks.ts'
import { createHeaderTemplate, writeHeaders } from '../capture/ip-header.ts'
import { CaptureDecoder, CaptureError, type DecodedPacket } from './index.ts'
import { findUdp } from './udp-datagram.ts'

const tuple = createTuple({
  localAddress: '192.0.2.1',
  localPort: 1000,
  remoteAddress: '192.0.2.2',
  remotePort: 2000,
  interfaceIndex: 0,
  socket: 0,
})
const section = sectionHeaderBlock({ application: 'test' })
const describedInterface = interfaceBlock({ name: 'lo', snapBytes: 0 })

/** A packet block around one UDP payload. */
function packetBlock(payload: Uint8Array, interfaceId = 0): Buffer {
  const template = createHeaderTemplate(tuple, 'sent')
  const captured = template.bytes.length + payload.length
  const block = Buffer.alloc(packetBlockLength(captured, false))
  block.set(payload, 28 + template.bytes.length)
  writeHeaders(template, block, 28, { payloadLength: payload.length, capturedLength: payload.length, ecn: 0, id: 1 })
  writePacketBlock(block, 0, {
    interfaceId,
    epochUs: 1_700_000_000_123_456,
    capturedLength: captured,
    originalLength: captured,
    direction: 2,
    dropCount: 0,
  })
  return block
}

function decode(...parts: Uint8Array[]): DecodedPacket[] {
  const packets: DecodedPacket[] = []
  const decoder = new CaptureDecoder({ onPacket: (packet) => packets.push(packet) })
  for (const part of parts) decoder.push(part)
  decoder.end()
  return packets
}

function refused(parts: readonly Uint8Array[], offset: number, says: RegExp): void {
  assert.throws(
    () => decode(...parts),
    (error) => {
      assert.ok(error instanceof CaptureError, String(error))
      assert.equal(error.code, 'ERR_CAPTURE')
      assert.match(error.message, says)
      assert.equal(error.offset, offset)
      assert.match(error.message, new RegExp(`at byte ${offset}\\)$`))
      return true
    },
  )
}

/** A copy with one 32-bit little-endian number changed. */
function changed(block: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(block)
  copy.writeUInt32LE(value >>> 0, at)
  return copy
}

const head = section.length + describedInterface.length
const packet = packetBlock(Buffer.from('not a QUIC packet'))

test('what is no pcapng file is named as what it is', () => {
  refused([], 0, /empty/)
  refused([Buffer.from('GET / HTTP/1.1\r\n\r\n')], 0, /no pcapng file/)
  refused([Buffer.from('d4c3b2a1020004000000000000000000', 'hex')], 0, /classic pcap.*editcap -F pcapng/)
  refused([Buffer.from('a1b23c4d0002000400000000', 'hex')], 0, /classic pcap/)
  refused([changed(section, 8, 7)], 0, /byte-order mark/)
})

test('a file that ends within a block gives its packets first, then the offset of that block', () => {
  const seen: DecodedPacket[] = []
  const decoder = new CaptureDecoder({ onPacket: (one) => seen.push(one) })
  decoder.push(Buffer.concat([section, describedInterface, packet, packet.subarray(0, 30)]))
  assert.equal(seen.length, 1)
  assert.throws(() => decoder.end(), /ends in the middle of a block, 30 bytes after its start.*at byte/)
})

test('lengths that cannot be are refused where they stand', () => {
  refused([section, changed(describedInterface, 4, 13)], section.length, /multiples of 4/)
  refused([section, changed(describedInterface, 4, 0)], section.length, /multiples of 4/)
  refused([section, changed(describedInterface, 4, 0xffff_fff0)], section.length, /more than 8388608/)
  refused(
    [section, changed(describedInterface, describedInterface.length - 4, 16)],
    section.length,
    /lengths of a block differ/,
  )
  refused([section, describedInterface, changed(packet, 20, 60_000)], head, /has room for less/)
  refused([section, changed(secretsBlock('CLIENT_RANDOM'), 12, 60_000)], section.length, /secrets.*has room for less/)
})

test('a packet of an interface that nobody described is refused', () => {
  refused([section, packet], section.length, /interface 0, which was not described/)
  refused([section, describedInterface, packetBlock(new Uint8Array(5), 9)], head, /interface 9/)
})

test('big-endian sections are read, unknown blocks are passed over', () => {
  const unknown = Buffer.alloc(16)
  unknown.writeUInt32LE(0x0bad, 0)
  unknown.writeUInt32LE(16, 4)
  unknown.writeUInt32LE(16, 12)
  assert.equal(decode(section, unknown, describedInterface, unknown, packet).length, 1)
  const big = Buffer.alloc(28)
  for (const [at, value] of [
    [0, 0x0a0d0d0a],
    [4, 28],
    [8, 0x1a2b3c4d],
    [24, 28],
  ] as const) {
    big.writeUInt32BE(value, at)
  }
  assert.deepEqual(decode(big), [])
})

test('datagrams that belong to no connection are listed with the reason', () => {
  const short = Buffer.concat([Buffer.from([0x40]), Buffer.alloc(40, 7)])
  const [stranger] = decode(section, describedInterface, packetBlock(short))
  assert.equal(stranger?.problem, 'unknown connection ID')
  assert.equal(stranger?.from, '192.0.2.1:1000')
  assert.equal(stranger?.timeUs, 1_700_000_000_123_456)
  const [cut] = decode(section, describedInterface, packetBlock(Buffer.from([0xc0, 0, 0, 0, 1, 30])))
  assert.equal(cut?.problem, 'malformed')
})

test('UDP is found behind the link types that tools write, and nothing else is taken for it', () => {
  const ip = packet.subarray(28, 28 + 20 + 8 + 17)
  const payload = 'not a QUIC packet'
  const links: readonly [number, Buffer][] = [
    [101, Buffer.alloc(0)],
    [228, Buffer.alloc(0)],
    [0, Buffer.from([2, 0, 0, 0])],
    [1, Buffer.from('0000000000010000000000020800', 'hex')],
    [1, Buffer.from('000000000001000000000002810000070800', 'hex')],
    [113, Buffer.from('00000304000600000000000000000800', 'hex')],
  ]
  for (const [linkType, prefix] of links) {
    const bytes = Buffer.concat([prefix, ip])
    const found = findUdp(linkType, bytes)
    assert.equal(bytes.toString('latin1', found?.start, found?.end), payload, `link type ${linkType}`)
    assert.deepEqual([found?.from, found?.to, found?.isCut], ['192.0.2.1:1000', '192.0.2.2:2000', false])
    for (let length = 0; length < prefix.length + 28; length++) {
      assert.equal(findUdp(linkType, bytes.subarray(0, length)), undefined, `${length} bytes`)
    }
    assert.equal(findUdp(linkType, bytes.subarray(0, -1))?.isCut, true)
  }
  const tcp = Buffer.from(ip)
  tcp[9] = 6
  const fragment = Buffer.from(ip)
  fragment[6] = 0x20
  for (const other of [tcp, fragment, Buffer.from([0x55, 1, 2, 3])]) assert.equal(findUdp(101, other), undefined)
  assert.equal(findUdp(77, ip), undefined, 'a link type that we do not know')
})
