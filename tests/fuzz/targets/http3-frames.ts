/** Fuzzes the HTTP/3 frame parser and SETTINGS: fragmentation changes nothing, gathered memory follows what arrived. */
import { H3ConnectionError } from '../../../packages/http3/src/errors.ts'
import { FrameItem, FrameParser, FrameType } from '../../../packages/http3/src/frames.ts'
import { decodeSettings, encodeSettings } from '../../../packages/http3/src/settings.ts'
import { type FuzzTarget, magnitude, promise, shape } from '../target.ts'

const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

const ourSettings = {
  qpackMaxTableCapacityBytes: 4096,
  qpackBlockedStreams: 16,
  maxFieldSectionBytes: 16_384,
  allowsExtendedConnect: true,
  allowsDatagrams: true,
  webTransportSessions: 8,
}

/** The first byte seeds the fragmentation; the rest is the stream. */
export const http3Frames: FuzzTarget = {
  name: 'http3-frames',
  inputBytesMax: 2_048,
  seeds: () => [
    Uint8Array.from([1, 0x04, 9, ...encodeSettings(ourSettings, 3)]),
    bytes('02 01 04 0000d1d7 00 05 68656c6c6f 00 00 21 03 aabbcc'),
    bytes('03 07 01 00 0d 01 08 05 03 000000 800f0700 06 0175 3d3120'),
    bytes('05 00 bfffffff 6161'),
  ],
  dictionary: ['0400', '0102', '4001', '800f0700', '0600', '3300', '0801', 'ffffffffffffffff'].map(bytes),
  run(input) {
    const stream = input.subarray(1)
    const whole = parse(stream, () => stream.length)
    let state = (input[0] ?? 0) + 1
    const split = parse(stream, () => {
      state = (state * 75 + 74) % 65_537
      return 1 + (state % 23)
    })
    promise(whole === split, `fragmentation changes the result:\n${whole}\n${split}`)
    return shape(whole.replace(/[0-9a-f]{8,}/g, 'x')).slice(0, 60)
  },
}

/** The frames found, as text; DATA as one run of bytes however it arrived. */
function parse(stream: Uint8Array, nextSize: () => number): string {
  const parser = new FrameParser()
  let text = ''
  let isInData = false
  try {
    for (let from = 0; from < stream.length; ) {
      const end = Math.min(stream.length, from + nextSize())
      // Chunks are borrowed: each is its own memory, wiped after use.
      const chunk = stream.slice(from, end)
      for (let at = 0; ; ) {
        const item = parser.next(chunk, at, chunk.length)
        promise(parser.offset >= at && parser.offset <= chunk.length, 'the parser consumes what it was given')
        at = parser.offset
        if (item === FrameItem.NeedMore) break
        if (item === FrameItem.Start) {
          text += ` ${parser.frameType}:${parser.frameLength}`
          isInData = false
          if (parser.frameType === 0x21 || parser.frameLength > 1_000_000) parser.skip()
          continue
        }
        const piece = Buffer.from(parser.bytes.subarray(parser.start, parser.end))
        if (item === FrameItem.Frame) promise(piece.length === parser.frameLength, 'a frame is whole')
        text += `${isInData || item === FrameItem.Frame ? '' : '='}${piece.toString('hex')}`
        isInData = item === FrameItem.Data
        if (item === FrameItem.Frame && parser.frameType === FrameType.Settings) text += settings(parser)
      }
      chunk.fill(0xee)
      from = end
    }
    return `${text}${parser.isBetweenFrames ? '.' : '…'} ${magnitude(stream.length)}`
  } catch (error) {
    if (!(error instanceof H3ConnectionError)) throw error
    return `${text} ! ${error.h3Name} ${error.message}`
  }
}

function settings(parser: FrameParser): string {
  const decoded = decodeSettings(parser.bytes, parser.start, parser.end)
  promise(decoded.qpackMaxTableCapacityBytes >= 0 && decoded.maxFieldSectionBytes >= 0, 'settings are not negative')
  return JSON.stringify(decoded)
}
