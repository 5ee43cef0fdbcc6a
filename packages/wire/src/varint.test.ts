/** Integers survive every length and every fragmentation that RFC 9000 §16 allows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TransportError } from './errors.ts'
import { Reader, VARINT_MAX_EXACT, varintLength, writeVarint, writeVarint2 } from './varint.ts'

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))

// spec: RFC 9000 §16, appendix A.1
for (const [bytes, value] of [
  ['25', 37],
  ['4025', 37],
  ['7bbd', 15_293],
  ['9d7f3e7d', 494_878_333],
] as const) {
  test(`varint ${bytes} is ${value}`, () => assert.equal(new Reader(hex(bytes)).varint(), value))
}

test('the 8-byte example of the RFC is beyond exact numbers and is clamped or refused, never rounded', () => {
  const bytes = hex('ffffffffffffffff')
  assert.equal(new Reader(bytes).varintClamped(), VARINT_MAX_EXACT)
  assert.throws(() => new Reader(bytes).varint(), TransportError)
  assert.equal(new Reader(hex('c2197c5eff14e88c')).varintClamped(), VARINT_MAX_EXACT)
})

test('any number below 2^53 reads back after writing, in the shortest form', () => {
  fc.assert(
    fc.property(fc.oneof(fc.maxSafeNat(), fc.nat(70), fc.nat(20_000), fc.nat(2 ** 31)), (value) => {
      if (value >= VARINT_MAX_EXACT) return
      const bytes = new Uint8Array(8)
      const end = writeVarint(bytes, 0, value)
      assert.equal(end, varintLength(value))
      const reader = new Reader(bytes, 0, end)
      assert.equal(reader.varint(), value)
      assert.equal(reader.remaining, 0)
    }),
  )
})

test('a two-byte varint holds any length of a packet', () => {
  const bytes = new Uint8Array(2)
  for (const value of [0, 1, 63, 64, 1200, 16_383]) {
    writeVarint2(bytes, 0, value)
    assert.equal(new Reader(bytes).varint(), value)
  }
})

test('reading past the end is a frame encoding error at every position', () => {
  const whole = hex('c000000100000000')
  for (let length = 0; length < 8; length++) {
    assert.throws(
      () => new Reader(whole, 0, length).varint(),
      (error) => error instanceof TransportError && error.codeName === 'FRAME_ENCODING_ERROR',
    )
  }
  assert.equal(new Reader(whole).varint(), 2 ** 32)
})
