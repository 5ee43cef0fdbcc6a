/** Synthesized headers: addresses, lengths and checksums as a receiver would verify them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTuple } from '@quicether/transport'
import fc from 'fast-check'
import { createHeaderTemplate, parseAddress, writeHeaders } from './ip-header.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

for (const [text, want] of [
  ['127.0.0.1', '7f000001'],
  ['::1', '00000000000000000000000000000001'],
  ['::', '00000000000000000000000000000000'],
  ['fe80::1%eth0', 'fe800000000000000000000000000001'],
  ['2001:db8:0:1:2:3:4:5', '20010db8000000010002000300040005'],
  ['2001:db8::', '20010db8000000000000000000000000'],
  ['::ffff:10.1.2.3', '0a010203'],
  ['64:ff9b::192.0.2.1', '0064ff9b0000000000000000c0000201'],
  ['not an address', '00000000'],
] as const)
  test(`address ${text} becomes ${want}`, () => assert.equal(hex(parseAddress(text)), want))

test('IPv4 and UDP headers of a known datagram are exact', () => {
  const out = new Uint8Array(30)
  out.set([0x68, 0x69], 28)
  const template = createHeaderTemplate(tuple('192.0.2.1', 1000, '192.0.2.2', 2000), 'sent')
  writeHeaders(template, out, 0, { payloadLength: 2, capturedLength: 2, ecn: 2, id: 7 })
  assert.equal(hex(out.subarray(0, 10)), '4502001e000740004011')
  assert.equal(hex(out.subarray(12, 26)), 'c0000201c000020203e807d0000a')
  verify(out, false)
})

test('a received datagram has the peer as its source', () => {
  const out = new Uint8Array(28)
  writeHeaders(createHeaderTemplate(tuple('10.0.0.1', 1, '10.0.0.2', 2), 'received'), out, 0, {
    payloadLength: 0,
    capturedLength: 0,
    ecn: 0,
    id: 0,
  })
  assert.equal(hex(out.subarray(12, 24)), '0a0000020a00000100020001')
})

test('checksums verify for any payload, both families', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 1500 }),
      fc.boolean(),
      fc.integer({ min: 0, max: 3 }),
      (payload, isIpv6, ecn) => {
        const template = createHeaderTemplate(
          isIpv6 ? tuple('2001:db8::1', 443, '2001:db8::2', 5) : tuple('10.0.0.1', 443, '10.0.0.2', 5),
          'sent',
        )
        const out = new Uint8Array(template.bytes.length + payload.length)
        out.set(payload, template.bytes.length)
        writeHeaders(template, out, 0, {
          payloadLength: payload.length,
          capturedLength: payload.length,
          ecn,
          id: 70_000,
        })
        verify(out, isIpv6)
        const gotEcn = isIpv6 ? ((out[1] ?? 0) >> 4) & 3 : (out[1] ?? 0) & 3
        assert.equal(gotEcn, ecn)
      },
    ),
  )
})

test('a wildcard local address takes the family of the remote one', () => {
  assert.equal(createHeaderTemplate(tuple('::', 1, '10.0.0.2', 2), 'sent').isIpv6, false)
  assert.equal(createHeaderTemplate(tuple('0.0.0.0', 1, '2001:db8::1', 2), 'sent').isIpv6, true)
  assert.equal(createHeaderTemplate(tuple('10.0.0.1', 1, '2001:db8::1', 2), 'sent').isIpv6, true)
})

function tuple(localAddress: string, localPort: number, remoteAddress: string, remotePort: number) {
  return createTuple({ localAddress, localPort, remoteAddress, remotePort, interfaceIndex: 0, socket: 0 })
}

/** RFC 1071: the sum over everything, checksum included, is all ones. */
function verify(packet: Uint8Array, isIpv6: boolean): void {
  const udpAt = isIpv6 ? 40 : 20
  if (!isIpv6) assert.equal(onesSum([...packet.subarray(0, 20)]), 0xffff)
  const addresses = isIpv6 ? packet.subarray(8, 40) : packet.subarray(12, 20)
  const udp = packet.subarray(udpAt)
  assert.equal(((udp[4] ?? 0) << 8) | (udp[5] ?? 0), udp.length)
  assert.equal(onesSum([...addresses, 0, 17, udp.length >> 8, udp.length & 255, ...udp]), 0xffff)
}

function onesSum(bytes: number[]): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
    sum = (sum & 0xffff) + (sum >> 16)
  }
  return sum
}
