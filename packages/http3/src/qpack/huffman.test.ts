import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { huffmanDecode, huffmanEncode, huffmanLength } from './huffman.ts'
import { latin1 } from './primitives.ts'

// RFC 7541 Appendix C.4 and C.6
const vectors = [
  ['www.example.com', 'f1e3c2e5f23a6ba0ab90f4ff'],
  ['no-cache', 'a8eb10649cbf'],
  ['custom-key', '25a849e95ba97d7f'],
  ['custom-value', '25a849e95bb8e8b4bf'],
  ['302', '6402'],
  ['private', 'aec3771a4b'],
  ['Mon, 21 Oct 2013 20:13:21 GMT', 'd07abe941054d444a8200595040b8166e082a62d1bff'],
  ['https://www.example.com', '9d29ad171863c78f0b97c8e9ae82ae43d3'],
  ['307', '640eff'],
  ['gzip', '9bd9ab'],
  [
    'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
    '94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
  ],
] as const

for (const [text, hex] of vectors) {
  test(`"${text}" has the Huffman code of RFC 7541 Appendix C`, () => {
    const out = new Uint8Array(256)
    const end = huffmanEncode(text, out, 0)
    assert.equal(Buffer.from(out.subarray(0, end)).toString('hex'), hex)
    assert.equal(huffmanLength(text), end)
    const decoded = new Uint8Array(256)
    const count = huffmanDecode(out, 0, end, decoded)
    assert.equal(latin1(decoded, 0, count), text)
  })
}

test('any bytes survive Huffman coding', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = latin1(bytes, 0, bytes.length)
      const out = new Uint8Array(huffmanLength(text))
      assert.equal(huffmanEncode(text, out, 0), out.length)
      const decoded = new Uint8Array(bytes.length)
      assert.equal(huffmanDecode(out, 0, out.length, decoded), bytes.length)
      assert.deepEqual(decoded, bytes)
    }),
  )
})

test('a string with EOS, with eight bits of padding, or with padding of zeros is refused', () => {
  const out = new Uint8Array(64)
  assert.equal(huffmanDecode(Uint8Array.of(0xff, 0xff, 0xff, 0xff), 0, 4, out), -1)
  assert.equal(huffmanDecode(Uint8Array.of(0xff), 0, 1, out), -1)
  // "0" is 00000 and then 000 instead of 111
  assert.equal(huffmanDecode(Uint8Array.of(0x00), 0, 1, out), -1)
  assert.equal(huffmanDecode(Uint8Array.of(0x07), 0, 1, out), 1)
})

test('a string that does not fit the room given to it is refused, not cut', () => {
  assert.equal(huffmanDecode(Uint8Array.of(0x00, 0x1f), 0, 2, new Uint8Array(1)), -2)
})
