/** Headers of all packet types parse back as written, and garbage never throws. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  HeaderStatus,
  HeaderView,
  encodeRetryWithoutTag,
  encodeVersionNegotiation,
  expandPacketNumber,
  packetNumberLength,
  patchLongHeaderLength,
  retryPseudoPacket,
  writeLongHeader,
  writePacketNumber,
  writeShortHeader,
} from './header.ts'
import { PacketType, Version, isReservedVersion, longHeaderBits, longHeaderType } from './version.ts'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
const cid = fc.uint8Array({ minLength: 0, maxLength: 20 })

test('the client Initial header of RFC 9001 appendix A.2 parses to its fields', () => {
  const bytes = new Uint8Array(1200)
  bytes.set(hex('c300000001088394c8f03e5157080000449e00000002'))
  const view = new HeaderView()
  assert.equal(view.parse(bytes, 0, 1200, 8), HeaderStatus.Ok)
  assert.equal(view.type, PacketType.Initial)
  assert.equal(view.version, Version.V1)
  assert.deepEqual(
    [...bytes.subarray(view.dcidOffset, view.dcidOffset + view.dcidLength)],
    [...hex('8394c8f03e515708')],
  )
  assert.equal(view.scidLength, 0)
  assert.equal(view.tokenLength, 0)
  assert.equal(view.pnOffset, 18)
  assert.equal(view.packetLength, 18 + 0x49e)
})

test('long headers of every type and version parse back as written', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(Version.V1, Version.V2),
      fc.constantFrom(PacketType.Initial, PacketType.ZeroRtt, PacketType.Handshake),
      cid,
      cid,
      fc.uint8Array({ maxLength: 100 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 20, max: 1000 }),
      (version, type, dcid, scid, token, pnLength, payload) => {
        const bytes = new Uint8Array(2000)
        const pnOffset = writeLongHeader(bytes, 3, { type, version, dcid, scid, token }, pnLength, 1)
        patchLongHeaderLength(bytes, pnOffset, pnLength + payload)
        const view = new HeaderView()
        assert.equal(view.parse(bytes, 3, 2000, 8), HeaderStatus.Ok)
        assert.equal(view.type, type)
        assert.equal(view.version, version)
        assert.equal(view.pnOffset, pnOffset - 3)
        assert.equal(view.packetLength, pnOffset - 3 + pnLength + payload)
        assert.deepEqual(bytes.slice(view.dcidOffset, view.dcidOffset + view.dcidLength), dcid)
        assert.deepEqual(bytes.slice(view.scidOffset, view.scidOffset + view.scidLength), scid)
        if (type === PacketType.Initial) {
          assert.deepEqual(bytes.slice(view.tokenOffset, view.tokenOffset + view.tokenLength), token)
        }
      },
    ),
  )
})

test('no bytes make the parser throw or point outside the datagram', () => {
  const view = new HeaderView()
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.boolean(),
      fc.constantFrom(0, 1, Version.V1, Version.V2),
      (noise, isLong, version) => {
        const bytes = noise.slice()
        if (bytes.length > 0) bytes[0] = isLong ? (bytes[0] as number) | 0x80 : (bytes[0] as number) & 0x7f
        if (isLong && bytes.length > 5) new DataView(bytes.buffer).setUint32(1, version)
        const status = view.parse(bytes, 0, bytes.length, 8)
        if (status !== HeaderStatus.Ok) return
        assert.ok(view.packetLength <= bytes.length && view.packetLength > 0)
        assert.ok(view.dcidOffset + view.dcidLength <= bytes.length)
        assert.ok(view.scidLength === 0 || view.scidOffset + view.scidLength <= bytes.length)
        // Without a token its offset says nothing.
        assert.ok(view.tokenLength >= 0)
        assert.ok(view.tokenLength === 0 || view.tokenOffset + view.tokenLength <= bytes.length)
      },
    ),
    { numRuns: 2000 },
  )
})

// spec: RFC 9000 §17.2#3, §17.2#6
test('a connection ID of more than 20 bytes in version 1 makes the packet be dropped', () => {
  const bytes = new Uint8Array(100)
  bytes.set([0xc0, 0, 0, 0, 1, 21])
  assert.equal(new HeaderView().parse(bytes, 0, 100, 8), HeaderStatus.Malformed)
})

// spec: RFC 8999 §5.1
test('other versions may use connection IDs of up to 255 bytes', () => {
  const bytes = new Uint8Array(600)
  bytes.set([0xc0, 0xaa, 0xaa, 0xaa, 0xaa, 255])
  bytes[6 + 255] = 200
  const view = new HeaderView()
  assert.equal(view.parse(bytes, 0, 600, 8), HeaderStatus.UnknownVersion)
  assert.equal(view.dcidLength, 255)
  assert.equal(view.scidLength, 200)
})

// spec: RFC 9369 §3.2
test('version 2 renumbers the long header types', () => {
  assert.equal(longHeaderBits(Version.V2, PacketType.Initial), 0b01)
  assert.equal(longHeaderBits(Version.V2, PacketType.ZeroRtt), 0b10)
  assert.equal(longHeaderBits(Version.V2, PacketType.Handshake), 0b11)
  assert.equal(longHeaderBits(Version.V2, PacketType.Retry), 0b00)
  for (let bits = 0; bits < 4; bits++) {
    for (const version of [Version.V1, Version.V2])
      assert.equal(longHeaderBits(version, longHeaderType(version, bits)), bits)
  }
})

// spec: RFC 9000 §17.2.1#3
test('a Version Negotiation packet names the versions and swaps the connection IDs', () => {
  const packet = encodeVersionNegotiation(hex('0102'), hex('030405'), [1, 0x1a2a3a4a], 7)
  const view = new HeaderView()
  assert.equal(view.parse(packet, 0, packet.length, 8), HeaderStatus.Ok)
  assert.equal(view.type, PacketType.VersionNegotiation)
  assert.deepEqual(packet.slice(view.pnOffset), hex('00000001 1a2a3a4a'))
  assert.ok(isReservedVersion(0x1a2a3a4a))
})

test('the Retry of RFC 9001 appendix A.4 is written byte for byte', () => {
  const body = encodeRetryWithoutTag(Version.V1, new Uint8Array(0), hex('f067a5502a4262b5'), hex('746f6b656e'), 0x0f)
  assert.deepEqual(body, hex('ff000000010008f067a5502a4262b5746f6b656e'))
  assert.deepEqual(
    retryPseudoPacket(hex('8394c8f03e515708'), body),
    hex('088394c8f03e515708ff000000010008f067a5502a4262b5746f6b656e'),
  )
  const view = new HeaderView()
  const whole = new Uint8Array(body.length + 16)
  whole.set(body)
  assert.equal(view.parse(whole, 0, whole.length, 8), HeaderStatus.Ok)
  assert.equal(view.type, PacketType.Retry)
  assert.equal(view.tokenLength, 5)
})

// spec: RFC 9000 appendix A.2, A.3
test('the packet number examples of RFC 9000 appendix A hold', () => {
  assert.equal(packetNumberLength(0xac5c02, 0xabe8b3), 2)
  assert.equal(packetNumberLength(0xace8fe, 0xabe8b3), 3)
  assert.equal(expandPacketNumber(0xa82f30ea, 0x9b32, 16), 0xa82f9b32)
})

// spec: RFC 9000 §17.1#2
test('a truncated packet number expands to the number sent, whatever was acknowledged', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.nat(100_000), fc.nat(50), (acked, ahead, missing) => {
      const packetNumber = acked + 1 + ahead
      const length = packetNumberLength(packetNumber, acked)
      const bytes = new Uint8Array(4)
      writePacketNumber(bytes, 0, packetNumber, length)
      let truncated = 0
      for (let i = 0; i < length; i++) truncated = truncated * 256 + (bytes[i] as number)
      const largest = Math.max(acked, packetNumber - 1 - missing)
      assert.equal(expandPacketNumber(largest, truncated, 8 * length), packetNumber)
    }),
  )
})

test('a short header carries key phase, spin bit and connection ID', () => {
  const bytes = new Uint8Array(64)
  const pnOffset = writeShortHeader(bytes, 0, hex('0102030405060708'), 2, 1, 1, 0)
  assert.equal(pnOffset, 9)
  assert.equal(bytes[0], 0x40 | 0x04 | 1)
  const view = new HeaderView()
  assert.equal(view.parse(bytes, 0, 64, 8), HeaderStatus.Ok)
  assert.equal(view.type, PacketType.OneRtt)
  assert.equal(view.pnOffset, 9)
})
