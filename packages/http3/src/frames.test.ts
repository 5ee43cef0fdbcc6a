import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { H3ConnectionError } from './errors.ts'
import { decodeIntegerPayload, encodeFrame, encodeIntegerFrame, FrameItem, FrameParser, FrameType } from './frames.ts'
import { decodeSettings, encodeSettings, reservedCodepoint } from './settings.ts'

/** Feeds chunks and lists frames as `[type, payload]`; DATA pieces are joined per frame; skips what `skip` says. */
function parseAll(chunks: readonly Uint8Array[], skip: (type: number) => boolean = () => false): [number, number[]][] {
  const parser = new FrameParser()
  const frames: [number, number[]][] = []
  for (const chunk of chunks) {
    let offset = 0
    while (true) {
      const item = parser.next(chunk, offset, chunk.length)
      offset = parser.offset
      if (item === FrameItem.NeedMore) break
      if (item === FrameItem.Start && skip(parser.frameType)) parser.skip()
      else if (item === FrameItem.Start && parser.frameType === FrameType.Data) frames.push([0, []])
      else if (item === FrameItem.Data) frames.at(-1)?.[1].push(...parser.bytes.subarray(parser.start, parser.end))
      else if (item === FrameItem.Frame) {
        frames.push([parser.frameType, [...parser.bytes.subarray(parser.start, parser.end)]])
      }
    }
    assert.equal(offset, chunk.length)
  }
  assert.ok(parser.isBetweenFrames)
  return frames
}

test('frames read back whole however the stream is cut', () => {
  const frame = fc.tuple(fc.constantFrom(0, 1, 4, 7, 0x21, 0x40, 0xf0700, 2 ** 40), fc.uint8Array({ maxLength: 300 }))
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 90 })), (frames, cuts) => {
      const bytes = Uint8Array.from(frames.flatMap(([type, payload]) => [...encodeFrame(type, payload)]))
      const chunks: Uint8Array[] = []
      let at = 0
      for (const cut of cuts) {
        chunks.push(bytes.subarray(at, at + cut))
        at += cut
      }
      chunks.push(bytes.subarray(at))
      const isUnknown = (type: number) => type === 0x21 || type === 2 ** 40
      const want = frames.filter(([type]) => !isUnknown(type)).map(([type, payload]) => [type, [...payload]])
      assert.deepEqual(parseAll(chunks, isUnknown), want)
    }),
  )
})

test('a frame that has not ended is not a place where a stream may end', () => {
  const parser = new FrameParser()
  parser.next(Uint8Array.of(0x40), 0, 1)
  assert.equal(parser.isBetweenFrames, false)
})

test('a promised length alone takes no memory', () => {
  const parser = new FrameParser()
  const header = Uint8Array.of(0x01, 0xbf, 0xff, 0xff, 0xff, 1, 2, 3)
  assert.equal(parser.next(header, 0, header.length), FrameItem.Start)
  assert.equal(parser.frameLength, 2 ** 30 - 1)
  assert.equal(parser.next(header, parser.offset, header.length), FrameItem.NeedMore)
})

test('a frame length of 2^53 or more is H3_FRAME_ERROR', () => {
  const bytes = Uint8Array.of(0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
  assert.throws(() => new FrameParser().next(bytes, 0, bytes.length), { h3Name: 'H3_FRAME_ERROR' })
})

// spec: RFC 9114 §7.1#1, §7.1#2, §10.8
test('integer frames refuse missing and additional bytes with H3_FRAME_ERROR', () => {
  const frame = encodeIntegerFrame(FrameType.Goaway, 1000)
  assert.equal(decodeIntegerPayload(FrameType.Goaway, frame, 2, 4), 1000)
  for (const payload of [[], [0x40], [0x00, 0x00], [0x41, 0x00, 0x00]]) {
    assert.throws(() => decodeIntegerPayload(FrameType.Goaway, Uint8Array.from(payload), 0, payload.length), {
      h3Name: 'H3_FRAME_ERROR',
    })
  }
})

// spec: RFC 9114 §7.2.4#7, §7.2.4.1#2, §7.2.4.2#12, §9#1
test('settings read back, reserved ones are ignored', () => {
  const settings = {
    qpackMaxTableCapacityBytes: 4096,
    qpackBlockedStreams: 16,
    maxFieldSectionBytes: 65_536,
    allowsExtendedConnect: true,
    allowsDatagrams: true,
    webTransportSessions: 8,
  }
  const payload = encodeSettings(settings, 1234)
  assert.deepEqual(decodeSettings(payload, 0, payload.length), settings)
  assert.equal(reservedCodepoint(0), 0x21)
})

const settingsErrors = [
  ['an HTTP/2 setting', [0x02, 0x01], 'H3_SETTINGS_ERROR'],
  ['the reserved setting 0', [0x00, 0x01], 'H3_SETTINGS_ERROR'],
  ['the same setting twice', [0x01, 0x00, 0x01, 0x00], 'H3_SETTINGS_ERROR'],
  ['a boolean setting of 2', [0x33, 0x02], 'H3_SETTINGS_ERROR'],
  ['a setting without a value', [0x01], 'H3_FRAME_ERROR'],
  ['a setting whose value is cut', [0x01, 0x40], 'H3_FRAME_ERROR'],
] as const

for (const [what, bytes, name] of settingsErrors) {
  // spec: RFC 9114 §7.2.4#6, §7.2.4.1#4
  test(`SETTINGS with ${what} is ${name}`, () => {
    assert.throws(
      () => decodeSettings(Uint8Array.from(bytes), 0, bytes.length),
      (error) => error instanceof H3ConnectionError && error.h3Name === name,
    )
  })
}
