/** Addresses that a server announces read back as written; broken lists get the error the RFC names. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TransportError, type TransportErrorName } from './errors.ts'
import { FrameType, frameTypeName, isAckEliciting, isProbingFrame, levelsOfFrame } from './frame-types.ts'
import { type FrameSink, decodeFrames } from './frames.ts'
import { encodeAdditionalAddresses, type ServerAddress, visitAddresses } from './server-addresses.ts'

const ONE_RTT = 3

interface Announcement {
  readonly sequence: number
  readonly addresses: ServerAddress[]
}

function decode(bytes: Uint8Array, level: number = ONE_RTT): Announcement[] {
  const found: Announcement[] = []
  const sink = new Proxy({} as FrameSink, {
    get:
      (_target, name) =>
      (sequence: number, count: number, start: number, end: number): void => {
        if (name !== 'onAdditionalAddresses') return
        const addresses: ServerAddress[] = []
        visitAddresses(bytes, start, end, (address, port) => addresses.push({ address, port }))
        assert.equal(addresses.length, count)
        found.push({ sequence, addresses })
      },
  })
  decodeFrames(bytes, 0, bytes.length, level, false, sink)
  return found
}

function fails(bytes: Uint8Array, name: TransportErrorName, level: number = ONE_RTT): void {
  assert.throws(
    () => decode(bytes, level),
    (error) => error instanceof TransportError && error.codeName === name,
  )
}

const both: readonly ServerAddress[] = [
  { address: '192.0.2.7', port: 4433 },
  { address: '2001:db8:0:0:0:0:0:9', port: 65_535 },
]

test('an announcement of an IPv4 and an IPv6 address has the bytes of the draft and reads back', () => {
  const bytes = encodeAdditionalAddresses(3, both)
  const hex = Buffer.from(bytes).toString('hex')
  assert.equal(hex, `c0000009${'25adda03'}0302${'04c00002071151'}${'0620010db8000000000000000000000009ffff'}`)
  assert.deepEqual(decode(bytes), [{ sequence: 3, addresses: both }])
})

test('an IPv6 address may be announced in its short spelling', () => {
  const bytes = encodeAdditionalAddresses(0, [{ address: '2001:db8::9', port: 1 }])
  assert.deepEqual(decode(bytes)[0]?.addresses, [{ address: '2001:db8:0:0:0:0:0:9', port: 1 }])
})

test('an empty announcement withdraws everything and frames after it are read on', () => {
  const bytes = Uint8Array.from([...encodeAdditionalAddresses(9, []), 0x01, ...encodeAdditionalAddresses(10, both)])
  assert.deepEqual(decode(bytes), [
    { sequence: 9, addresses: [] },
    { sequence: 10, addresses: both },
  ])
})

test('an announcement is acknowledged, moves no path, and belongs into 1-RTT packets only', () => {
  assert.equal(isAckEliciting(FrameType.AdditionalAddresses), true)
  assert.equal(isProbingFrame(FrameType.AdditionalAddresses), false)
  assert.equal(levelsOfFrame(FrameType.AdditionalAddresses), 1 << ONE_RTT)
  assert.equal(frameTypeName(FrameType.AdditionalAddresses), 'additional_addresses')
  for (const level of [0, 1, 2]) fails(encodeAdditionalAddresses(0, both), 'PROTOCOL_VIOLATION', level)
})

test('an announcement cut short anywhere, of an unknown IP version or with too large a count is an encoding error', () => {
  const whole = encodeAdditionalAddresses(1, both)
  for (let length = 8; length < whole.length; length++) fails(whole.slice(0, length), 'FRAME_ENCODING_ERROR')
  const version5 = whole.slice()
  version5[10] = 5
  fails(version5, 'FRAME_ENCODING_ERROR')
  const countless = Uint8Array.from([...whole.slice(0, 9), 0xff, 255, 255, 255, 255, 255, 255, 255, ...whole.slice(10)])
  fails(countless, 'FRAME_ENCODING_ERROR')
  const many = Uint8Array.from([...whole.slice(0, 9), 0xbf, 255, 255, 255, ...whole.slice(10)])
  fails(many, 'FRAME_ENCODING_ERROR')
})

const octets = (length: number): fc.Arbitrary<number[]> =>
  fc.array(fc.nat({ max: 255 }), { minLength: length, maxLength: length })
const port = fc.nat({ max: 65_535 })
const plain = { noNullPrototype: true }
const v4 = fc.record({ address: octets(4).map((ip) => ip.join('.')), port }, plain)
const v6Address = fc
  .array(fc.nat({ max: 0xffff }), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.map((group) => group.toString(16)).join(':'))
const v6 = fc.record({ address: v6Address, port }, plain)

test('any list of addresses survives the wire', () => {
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.oneof(v4, v6), { maxLength: 40 }), (sequence, addresses) => {
      assert.deepEqual(decode(encodeAdditionalAddresses(sequence, addresses)), [{ sequence, addresses }])
    }),
  )
})
