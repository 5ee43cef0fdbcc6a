/** Transport parameters read back as written, and every bad value is TRANSPORT_PARAMETER_ERROR. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TransportError } from './errors.ts'
import {
  ParameterId,
  type TransportParameters,
  decodeTransportParameters,
  defaultTransportParameters,
  encodeTransportParameters,
  parseIpv6,
} from './transport-parameters.ts'

const token = new Uint8Array(16).fill(7)
const cid = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)

test("a server's parameters survive the wire, preferred address and version information included", () => {
  const parameters: TransportParameters = {
    ...defaultTransportParameters(),
    originalDestinationCid: cid,
    initialSourceCid: cid,
    retrySourceCid: cid,
    maxIdleTimeoutMs: 30_000,
    statelessResetToken: token,
    maxUdpPayloadSize: 1452,
    initialMaxData: 1_000_000,
    initialMaxStreamsBidi: 100,
    ackDelayExponent: 4,
    maxAckDelayMs: 20,
    disableActiveMigration: true,
    preferredAddress: {
      ipv4Address: '192.0.2.7',
      ipv4Port: 4433,
      ipv6Address: '2001:db8:0:0:0:0:0:9',
      ipv6Port: 4434,
      cid,
      statelessResetToken: token,
    },
    activeConnectionIdLimit: 8,
    versionInformation: { chosen: 1, available: [1, 0x6b3343cf] },
    maxDatagramFrameSize: 65_535,
    greaseQuicBit: true,
    initialMaxPathId: 4,
  }
  const bytes = encodeTransportParameters(parameters, { id: 31 * 5 + 27, value: Uint8Array.of(1, 2) })
  assert.deepEqual(decodeTransportParameters(bytes, 'server'), parameters)
})

test('a client says that it understands announced addresses', () => {
  const parameters = { ...defaultTransportParameters(), additionalAddresses: true }
  const bytes = encodeTransportParameters(parameters)
  assert.equal(Buffer.from(bytes).toString('hex'), 'c0000009' + '25adda03' + '00')
  assert.deepEqual(decodeTransportParameters(bytes, 'client'), parameters)
})

test('absent parameters mean the defaults of the RFC', () => {
  assert.deepEqual(decodeTransportParameters(new Uint8Array(0), 'client'), defaultTransportParameters())
})

for (const [what, bytes, sender] of [
  ['a client-only parameter from a server', [0xc0, 0, 0, 9, 0x25, 0xad, 0xda, 3, 0], 'server'],
  ['additional_addresses with a value', [0xc0, 0, 0, 9, 0x25, 0xad, 0xda, 3, 1, 0], 'client'],
  ['a duplicate', [1, 1, 5, 1, 1, 5], 'server'],
  ['a server-only parameter from a client', [2, 16, ...token], 'client'],
  ['a payload size below 1200', [3, 2, 0x44, 0xaf], 'server'],
  ['an ack delay exponent above 20', [0x0a, 1, 21], 'server'],
  ['a max ack delay of 2^14', [0x0b, 4, 0x80, 0, 0x40, 0], 'server'],
  ['a connection ID limit below 2', [0x0e, 1, 1], 'server'],
  ['a connection ID of 21 bytes', [0x0f, 21, ...new Array<number>(21).fill(1)], 'server'],
  ['a flag with a value', [0x0c, 1, 0], 'server'],
  ['a reset token of 15 bytes', [2, 15, ...new Array<number>(15).fill(1)], 'server'],
  ['trailing bytes behind a number', [1, 2, 5, 5], 'server'],
  ['a truncated value', [1, 9, 1], 'server'],
  ['a stream limit above 2^60', [8, 8, 0xd0, 0, 0, 0, 0, 0, 0, 1], 'client'],
  ['version 0 in version information', [0x11, 4, 0, 0, 0, 0], 'server'],
  ['a path ID above 2^32-1', [0x3e, 8, 0xc0, 0, 0, 1, 0, 0, 0, 0], 'client'],
] as const) {
  test(`${what} is a transport parameter error`, () => {
    assert.throws(
      () => decodeTransportParameters(Uint8Array.from(bytes), sender),
      (error) => error instanceof TransportError && error.codeName === 'TRANSPORT_PARAMETER_ERROR',
    )
  })
}

// spec: RFC 9000 §7.4.2
test('unknown parameters are ignored', () => {
  assert.equal(decodeTransportParameters(Uint8Array.of(0x40, 0x99, 2, 1, 1, 1, 1, 5), 'client').maxIdleTimeoutMs, 5)
})

test('any bytes either decode or fail with a transport parameter error', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      fc.constantFrom('client' as const, 'server' as const),
      (bytes, sender) => {
        try {
          decodeTransportParameters(bytes, sender)
        } catch (error) {
          assert.ok(error instanceof TransportError && error.codeName === 'TRANSPORT_PARAMETER_ERROR')
        }
      },
    ),
    { numRuns: 2000 },
  )
})

test('IPv6 addresses are read in full and shortened form', () => {
  assert.deepEqual([...parseIpv6('::1')], [...new Array<number>(15).fill(0), 1])
  assert.deepEqual([...parseIpv6('fd99:1::2')].slice(0, 4), [0xfd, 0x99, 0, 1])
  assert.throws(() => parseIpv6('1:2:3'), RangeError)
  assert.throws(() => parseIpv6('zz::1'), RangeError)
  assert.ok(ParameterId.GreaseQuicBit === 0x2ab2)
})
