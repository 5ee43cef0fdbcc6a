import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FieldSectionTooLarge, H3ConnectionError, H3StreamError } from '../errors.ts'
import type { HeaderList } from '../headers.ts'
import { QpackDecoder, type QpackDecoderOptions } from './decoder.ts'
import { QpackEncoder } from './encoder.ts'
import { QpackReader, QpackWriter } from './primitives.ts'
import { staticTable } from './static-table.ts'

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))
const toHex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex')

function decoderOf(options: Partial<QpackDecoderOptions> = {}): QpackDecoder {
  return new QpackDecoder({
    maxTableCapacityBytes: 220,
    maxBlockedStreams: 8,
    maxFieldSectionBytes: 16_384,
    ...options,
  })
}

function decode(decoder: QpackDecoder, streamId: number, text: string): HeaderList | undefined {
  const bytes = hex(text)
  return decoder.decode(streamId, bytes, 0, bytes.length)
}

function failsWith(name: string, run: () => unknown): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof H3ConnectionError, String(error))
    assert.equal(error.h3Name, name)
    return true
  })
}

test('the static table has the 99 entries of RFC 9204 Appendix A', () => {
  assert.equal(staticTable.length, 99)
  assert.deepEqual(staticTable[17], [':method', 'GET'])
  assert.deepEqual(staticTable[85], [
    'content-security-policy',
    "script-src 'none'; object-src 'none'; base-uri 'none'",
  ])
  assert.deepEqual(staticTable[98], ['x-frame-options', 'sameorigin'])
})

// spec: RFC 9204 §2.2, §2.2.2.1, §3.2#1
test('the exchanges of RFC 9204 Appendix B decode and are acknowledged byte for byte', () => {
  const decoder = decoderOf()
  assert.deepEqual(decode(decoder, 0, '0000 510b 2f69 6e64 6578 2e68 746d 6c'), [[':path', '/index.html']])
  assert.equal(decoder.takeInstructions(), undefined)

  decoder.onEncoderStream(hex('3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d c10c 2f73 616d 706c 652f 7061 7468'))
  assert.equal(decoder.tableBytes, 106)
  assert.deepEqual(decode(decoder, 4, '0381 10 11'), [
    [':authority', 'www.example.com'],
    [':path', '/sample/path'],
  ])
  assert.equal(toHex(decoder.takeInstructions()), '84')

  decoder.onEncoderStream(hex('4a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565'))
  assert.equal(decoder.tableBytes, 160)
  assert.equal(toHex(decoder.takeInstructions()), '01')

  assert.equal(decode(decoder, 8, '0500 80 c1 81'), undefined)
  decoder.cancelStream(8)
  assert.equal(toHex(decoder.takeInstructions()), '48')
  decoder.onEncoderStream(hex('02'))
  assert.equal(decoder.tableBytes, 217)
  assert.equal(decoder.pollUnblocked(), undefined)
  assert.deepEqual(decode(decoder, 8, '0500 80 c1 81'), [
    [':authority', 'www.example.com'],
    [':path', '/'],
    ['custom-key', 'custom-value'],
  ])

  decoder.onEncoderStream(hex('810d 6375 7374 6f6d 2d76 616c 7565 32'))
  assert.equal(decoder.tableBytes, 215)
})

// spec: RFC 9204 §4.1.1
test('integers use the forms of RFC 7541 Appendix C.1', () => {
  const writer = new QpackWriter()
  writer.integer(0, 5, 10)
  writer.integer(0, 5, 1337)
  writer.integer(0, 8, 42)
  assert.equal(toHex(writer.take()), '0a1f9a0a2a')
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 8 }), (value, prefix) => {
      writer.integer(0, prefix, value)
      const bytes = writer.take()
      const reader = new QpackReader('QPACK_DECOMPRESSION_FAILED')
      reader.rewind(bytes, 0, bytes.length)
      assert.equal(reader.integer(prefix), value)
      assert.equal(reader.offset, bytes.length)
    }),
  )
})

// spec: RFC 9204 §7.4
test('integers that are too large or encoded for ever are refused', () => {
  for (const text of ['3fffffffffffffffff7f', '3f8080808080808080808080808001']) {
    failsWith('QPACK_ENCODER_STREAM_ERROR', () => decoderOf().onEncoderStream(hex(text)))
  }
})

// spec: RFC 9204 §7.4
test('an integer in a field section beyond what we can decode ends its stream only', () => {
  for (const text of ['0000 ff ffffffffffffffff7f', '0000 ff 8080808080808080808001', '0000 27 ffffffffffffffff7f']) {
    assert.throws(
      () => decode(decoderOf(), 0, text),
      (error) => error instanceof H3StreamError && error.h3Name === 'QPACK_DECOMPRESSION_FAILED',
    )
  }
})

// spec: RFC 9204 §2.2.1#2, §2.2.3#1, §3.1#1, §4.5.1.1, §4.5.1.2
const sectionErrors = [
  ['an empty section', ''],
  ['no Base', '00'],
  ['a static index that does not exist', '0000 ff24'],
  ['a dynamic reference with Required Insert Count zero', '0000 80'],
  ['a post-base reference with Required Insert Count zero', '0000 10'],
  ['a section that ends inside a value', '0000 510b 2f69'],
  ['a section that ends inside a name', '0000 2a63'],
  ['a section that ends inside an index', '0000 ff'],
  ['a Huffman string with EOS', '0000 5184 ffff ffff'],
  ['a negative Base', '0281 80'],
  ['a Required Insert Count beyond twice the entries', '0e00 80'],
  ['a reference at the Required Insert Count', '0200 10'],
] as const

for (const [what, bytes] of sectionErrors) {
  test(`${what} closes the connection with QPACK_DECOMPRESSION_FAILED`, () => {
    const decoder = decoderOf()
    decoder.onEncoderStream(hex('3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d'))
    failsWith('QPACK_DECOMPRESSION_FAILED', () => decode(decoder, 0, bytes))
  })
}

// spec: RFC 9204 §3.1#2, §3.2.2#2, §4.3.1#2
const encoderErrors = [
  ['a capacity above the limit', '3fbe01'],
  ['an entry larger than the capacity', 'c0 01 61'],
  ['a static name that does not exist', '3fbd01 ff24 0161'],
  ['a duplicate of an entry that does not exist', '3fbd01 00'],
  ['a name reference to an entry that does not exist', '3fbd01 80 0161'],
  ['a Huffman name with EOS', '3fbd01 64 ffffffff 0161'],
] as const

for (const [what, bytes] of encoderErrors) {
  test(`${what} on the encoder stream is QPACK_ENCODER_STREAM_ERROR, however it is split`, () => {
    failsWith('QPACK_ENCODER_STREAM_ERROR', () => decoderOf().onEncoderStream(hex(bytes)))
    failsWith('QPACK_ENCODER_STREAM_ERROR', () => {
      const decoder = decoderOf()
      for (const byte of hex(bytes)) decoder.onEncoderStream(Uint8Array.of(byte))
    })
  })
}

test('an instruction that promises more than the table can hold is refused before its bytes arrive', () => {
  failsWith('QPACK_ENCODER_STREAM_ERROR', () => decoderOf().onEncoderStream(hex('3fbd01 c0 7fffff03')))
})

// spec: RFC 9204 §2.2.3#2
test('a reference to an evicted entry is QPACK_DECOMPRESSION_FAILED', () => {
  const decoder = decoderOf()
  decoder.onEncoderStream(hex('3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d 20 3fbd01 c00161'))
  failsWith('QPACK_DECOMPRESSION_FAILED', () => decode(decoder, 0, '0300 81'))
})

// spec: RFC 9204 §2.1.2#2
test('more blocked streams than promised is QPACK_DECOMPRESSION_FAILED', () => {
  const decoder = decoderOf({ maxBlockedStreams: 2 })
  assert.equal(decode(decoder, 0, '0200 80'), undefined)
  assert.equal(decode(decoder, 4, '0200 80'), undefined)
  assert.equal(decoder.blockedStreams, 2)
  failsWith('QPACK_DECOMPRESSION_FAILED', () => decode(decoder, 8, '0200 80'))
})

test('a section that unfolds beyond the limit ends its stream only, and takes no more memory than the limit', () => {
  const decoder = decoderOf({ maxTableCapacityBytes: 4096, maxFieldSectionBytes: 8192 })
  const value = 'x'.repeat(3000)
  const writer = new QpackWriter()
  writer.integer(0x20, 5, 4096)
  writer.integer(0xc0, 6, 0)
  writer.string(0, 7, value)
  decoder.onEncoderStream(writer.take())
  decoder.takeInstructions()
  const bomb = new Uint8Array(2 + 5000).fill(0x80)
  bomb.set([0x02, 0x00])
  assert.throws(() => decoder.decode(0, bomb, 0, bomb.length), FieldSectionTooLarge)
  assert.equal(toHex(decoder.takeInstructions()), '40')
  assert.throws(() => decoder.decode(4, hex('0000 5f00 7fe17f'), 0, 8), FieldSectionTooLarge)
})

const decoderStreamErrors = [
  ['an acknowledgment without an outstanding section', '84'],
  ['an increment of zero', '00'],
  ['an increment beyond what was inserted', '05'],
] as const

for (const [what, bytes] of decoderStreamErrors) {
  // spec: RFC 9204 §4.4.1, §4.4.3
  test(`${what} is QPACK_DECODER_STREAM_ERROR`, () => {
    const encoder = new QpackEncoder({ maxTableCapacityBytes: 4096, maxOutstandingSections: 100 })
    encoder.onPeerSettings({ maxTableCapacityBytes: 4096, maxBlockedStreams: 10 })
    failsWith('QPACK_DECODER_STREAM_ERROR', () => encoder.onDecoderStream(hex(bytes)))
  })
}

// spec: RFC 9204 §4.5.4, §7.1.3#2
test('secrets are sent as never-indexed literals and enter no table', () => {
  const encoder = new QpackEncoder({ maxTableCapacityBytes: 4096, maxOutstandingSections: 100 })
  encoder.onPeerSettings({ maxTableCapacityBytes: 4096, maxBlockedStreams: 10 })
  for (let stream = 0; stream < 12; stream += 4) {
    const section = encoder.encode(stream, [
      ['authorization', 'Bearer abc'],
      ['x-api-key', 'k'],
    ])
    // RFC 9204 §4.5.4: 01 N T with N set and static index 84; §4.5.6: 001 N for a literal name
    assert.equal((section[2] as number) & 0xf0, 0x70)
    assert.ok([...section].some((byte) => (byte & 0xf0) === 0x30))
  }
  assert.equal(encoder.insertCount, 0)
})

test('a second request with the same headers costs a few bytes once the first is acknowledged', () => {
  const encoder = new QpackEncoder({ maxTableCapacityBytes: 4096, maxOutstandingSections: 100 })
  const decoder = decoderOf({ maxTableCapacityBytes: 4096 })
  encoder.onPeerSettings({ maxTableCapacityBytes: 4096, maxBlockedStreams: 8 })
  const headers: HeaderList = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', 'video.example.com:4433'],
    [':path', '/'],
    ['user-agent', 'quicether/0.1'],
    ['accept-language', 'de, en;q=0.5'],
  ]
  const first = encoder.encode(0, headers)
  decoder.onEncoderStream(encoder.takeInstructions() as Uint8Array)
  assert.deepEqual(decoder.decode(0, first, 0, first.length), headers)
  encoder.onDecoderStream(decoder.takeInstructions() as Uint8Array)
  const second = encoder.encode(4, headers)
  assert.equal(encoder.takeInstructions(), undefined)
  assert.deepEqual(decoder.decode(4, second, 0, second.length), headers)
  assert.ok(second.length <= 8, `${second.length} bytes`)
})

// spec: RFC 9204 §2.1.1, §3.2.2#1
test('an entry that the peer has not acknowledged is not evicted, referenced or not', () => {
  const encoder = new QpackEncoder({ maxTableCapacityBytes: 220, maxOutstandingSections: 100 })
  encoder.onPeerSettings({ maxTableCapacityBytes: 220, maxBlockedStreams: 0 })
  const lineOf = (n: number): HeaderList => [['user-agent', `${n}`.padEnd(20, '-')]]
  for (let n = 0; n < 10; n++) encoder.encode(n * 4, lineOf(n))
  // 62 bytes each: three fit.
  assert.equal(encoder.insertCount, 3)
  encoder.onDecoderStream(Uint8Array.of(0x01))
  for (let n = 10; n < 20; n++) encoder.encode(n * 4, lineOf(n))
  assert.equal(encoder.insertCount, 4)
})

test('a peer that never acknowledges costs the encoder a bounded number of records', () => {
  const encoder = new QpackEncoder({ maxTableCapacityBytes: 4096, maxOutstandingSections: 50 })
  encoder.onPeerSettings({ maxTableCapacityBytes: 4096, maxBlockedStreams: 1000 })
  for (let n = 0; n < 1000; n++)
    encoder.encode(4 * n, [
      [':authority', 'a.example'],
      ['user-agent', `n${n}`],
    ])
  assert.equal(encoder.outstandingSections, 50)
})

const line = fc.tuple(
  fc.constantFrom(
    'x-a',
    'x-b',
    ':authority',
    'user-agent',
    'cookie',
    'content-type',
    'accept',
    'x-long-name-of-a-field',
  ),
  fc.oneof(
    fc.constantFrom('', 'v', 'text/plain', 'value-one', 'y'.repeat(90)),
    fc.string({ unit: 'binary-ascii', maxLength: 40 }),
  ),
)
const section = fc.array(line, { maxLength: 8 })

/**
 * Sections, encoder stream and decoder stream are three queues; `schedule` says which moves next and by how much.
 */
// spec: RFC 9204 §2.1, §2.1.2#1, §2.2, §2.2.2.1, §3.2.3#1
test('headers survive any interleaving and fragmentation of sections, instructions and acknowledgments', () => {
  fc.assert(
    fc.property(
      fc.array(section, { minLength: 1, maxLength: 40 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 60 })), { maxLength: 200 }),
      fc.constantFrom(0, 100, 220, 512, 4096),
      fc.integer({ min: 0, max: 4 }),
      (sections, schedule, capacity, maxBlocked) => {
        const encoder = new QpackEncoder({ maxTableCapacityBytes: 4096, maxOutstandingSections: 30 })
        encoder.onPeerSettings({ maxTableCapacityBytes: capacity, maxBlockedStreams: maxBlocked })
        const decoder = decoderOf({ maxTableCapacityBytes: capacity, maxBlockedStreams: maxBlocked })
        const waiting: { id: number; bytes: Uint8Array; want: HeaderList }[] = []
        const blocked = new Map<number, { bytes: Uint8Array; want: HeaderList }>()
        let toDecoder = new Uint8Array(0)
        let toEncoder = new Uint8Array(0)
        let encoded = 0
        let decoded = 0
        const join = (a: Uint8Array, b: Uint8Array | undefined) =>
          b === undefined ? new Uint8Array(a) : Uint8Array.of(...a, ...b)
        const tryDecode = (id: number, bytes: Uint8Array, want: HeaderList) => {
          const got = decoder.decode(id, bytes, 0, bytes.length)
          if (got === undefined) blocked.set(id, { bytes, want })
          else {
            assert.deepEqual(got, want)
            decoded++
          }
        }
        const step = (what: number, size: number) => {
          if (what <= 1 && encoded < sections.length) {
            const want = sections[encoded] as HeaderList
            const id = 4 * encoded++
            waiting.push({ id, bytes: encoder.encode(id, want), want })
            toDecoder = join(toDecoder, encoder.takeInstructions())
            assert.ok(encoder.blockingStreams <= maxBlocked)
          } else if (what === 2) {
            decoder.onEncoderStream(toDecoder.slice(0, size))
            toDecoder = toDecoder.slice(size)
            for (let id = decoder.pollUnblocked(); id !== undefined; id = decoder.pollUnblocked()) {
              const entry = blocked.get(id)
              assert.ok(entry)
              blocked.delete(id)
              tryDecode(id, entry.bytes, entry.want)
            }
          } else if (what === 3) {
            encoder.onDecoderStream(toEncoder.slice(0, size))
            toEncoder = toEncoder.slice(size)
          } else if (waiting.length > 0) {
            const [entry] = waiting.splice(size % waiting.length, 1)
            if (entry !== undefined) tryDecode(entry.id, entry.bytes, entry.want)
          }
          toEncoder = join(toEncoder, decoder.takeInstructions())
        }
        for (const [what, size] of schedule) step(what, size)
        while (encoded < sections.length) step(0, 1)
        while (toDecoder.length > 0) step(2, 7)
        while (waiting.length > 0) step(4, 0)
        while (toEncoder.length > 0) step(3, 1)
        assert.equal(decoded, sections.length)
        assert.equal(blocked.size, 0)
        assert.equal(encoder.outstandingSections, 0)
        assert.equal(encoder.blockingStreams, 0)
      },
    ),
    { numRuns: 300 },
  )
})
