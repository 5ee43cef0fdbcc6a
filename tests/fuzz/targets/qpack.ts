/** Fuzzes QPACK: encoder streams, field sections and decoder streams of any content, with bounded tables and sections. */
import { isDeepStrictEqual } from 'node:util'
import { FieldSectionTooLarge, H3ConnectionError } from '../../../packages/http3/src/errors.ts'
import { fieldSectionBytes, type HeaderLine } from '../../../packages/http3/src/headers.ts'
import { QpackDecoder } from '../../../packages/http3/src/qpack/decoder.ts'
import { QpackEncoder } from '../../../packages/http3/src/qpack/encoder.ts'
import { type FuzzTarget, magnitude, promise, shape } from '../target.ts'
import { program, steps } from './steps.ts'

const TABLE_BYTES = 300
const BLOCKED_MAX = 4
const SECTION_BYTES_MAX = 1_000
const STEPS_MAX = 64

const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

/** A peer's encoder stream and field sections against our decoder. */
export const qpackDecoder: FuzzTarget = {
  name: 'qpack-decoder',
  inputBytesMax: 1_024,
  // RFC 9204 Appendix B.
  seeds: () => [
    program([1, 0, bytes('0000 510b 2f69 6e64 6578 2e68 746d 6c')]),
    program(
      [0, 0, bytes('3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d c10c 2f73 616d 706c 652f 7061 7468')],
      [1, 1, bytes('0381 10 11')],
      [0, 0, bytes('4a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565')],
      [1, 2, bytes('0500 80 c1 81')],
      [0, 0, bytes('02')],
      [3, 0, bytes('')],
      [2, 2, bytes('')],
      [0, 0, bytes('810d 6375 7374 6f6d 2d76 616c 7565 32')],
    ),
    program([1, 0, bytes('0000 23 616263 03 646566 50 81 ff 2f 03 6d6f6f 82 a0')]),
  ],
  dictionary: [
    '0000',
    '3fe11f',
    '3f00',
    '80',
    'c0',
    'ffffffffffffff7f',
    '1f',
    '10',
    '20',
    '8c f1e3c2e5f23a6ba0ab90f4ff',
  ].map(bytes),
  run(input) {
    const decoder = new QpackDecoder({
      maxTableCapacityBytes: TABLE_BYTES,
      maxBlockedStreams: BLOCKED_MAX,
      maxFieldSectionBytes: SECTION_BYTES_MAX,
    })
    const waiting = new Map<number, Uint8Array>()
    let outcome = ''
    try {
      for (const { operation, argument, payload } of steps(input, STEPS_MAX)) {
        outcome = decodeStep(decoder, waiting, operation & 3, argument, payload)
        promise(decoder.tableBytes <= TABLE_BYTES, `the table holds ${decoder.tableBytes} bytes`)
        promise(decoder.blockedStreams <= BLOCKED_MAX, `${decoder.blockedStreams} streams are blocked`)
        promise((decoder.takeInstructions()?.length ?? 0) <= 64 + input.length, 'instructions are short')
      }
      return `${outcome} ${magnitude(decoder.insertCount)} ${magnitude(decoder.tableBytes)} ${decoder.blockedStreams}`
    } catch (error) {
      if (!(error instanceof H3ConnectionError)) throw error
      return `! ${error.h3Name} ${shape(error.message)}`
    }
  },
}

function decodeStep(
  decoder: QpackDecoder,
  waiting: Map<number, Uint8Array>,
  operation: number,
  stream: number,
  payload: Uint8Array,
): string {
  if (operation === 0) {
    decoder.onEncoderStream(payload)
    return 'e'
  }
  if (operation === 1) return decodeSection(decoder, waiting, stream * 4, payload)
  if (operation === 2) {
    decoder.cancelStream(stream * 4)
    waiting.delete(stream * 4)
    return 'c'
  }
  let unblocked = 0
  for (let id = decoder.pollUnblocked(); id !== undefined; id = decoder.pollUnblocked()) {
    unblocked++
    promise(unblocked <= BLOCKED_MAX, 'only blocked streams are unblocked')
    const section = waiting.get(id)
    promise(section !== undefined, `stream ${id} was blocked`)
    waiting.delete(id)
    // It may block again: the Required Insert Count is relative, and a peer that evicts what a waiting section needs
    // (RFC 9204 §2.1.1 forbids it) makes it name another entry. Bounded, and only that peer's stream waits.
    decodeSection(decoder, waiting, id, section)
  }
  return `u${unblocked}`
}

function decodeSection(
  decoder: QpackDecoder,
  waiting: Map<number, Uint8Array>,
  id: number,
  section: Uint8Array,
): string {
  // The session decodes one section of a stream at a time.
  if (waiting.has(id)) return 'w'
  try {
    const lines = decoder.decode(id, section, 0, section.length)
    if (lines === undefined) {
      waiting.set(id, section.slice())
      return 'b'
    }
    promise(fieldSectionBytes(lines) <= SECTION_BYTES_MAX, 'a section keeps to its limit')
    return `s${magnitude(lines.length)}`
  } catch (error) {
    if (!(error instanceof FieldSectionTooLarge)) throw error
    return 'l'
  }
}

const words = [
  ':path',
  ':status',
  'content-type',
  'x-a',
  'cookie',
  '/text',
  '200',
  '',
  'a'.repeat(60),
  '\u00ff\u0000',
] as const

/** Our encoder against our decoder, with a decoder stream that a peer may spoil. */
export const qpackRoundTrip: FuzzTarget = {
  name: 'qpack-round-trip',
  inputBytesMax: 512,
  seeds: () => [
    program(
      [0, 0, bytes('0005 0106 0307')],
      [0, 1, bytes('0005 0308')],
      [1, 0, bytes('')],
      [0, 2, bytes('0308 0009')],
      [2, 1, bytes('')],
    ),
    program([0, 0, bytes('0305')], [3, 0, bytes('01')], [0, 0, bytes('0305')], [1, 0, bytes('')], [3, 0, bytes('80')]),
  ],
  dictionary: ['80', '40', '01', '3f', '7f', 'ff'].map(bytes),
  run(input) {
    const encoder = new QpackEncoder({ maxTableCapacityBytes: TABLE_BYTES, maxOutstandingSections: 8 })
    const decoder = new QpackDecoder({
      maxTableCapacityBytes: TABLE_BYTES,
      maxBlockedStreams: BLOCKED_MAX,
      maxFieldSectionBytes: 100_000,
    })
    encoder.onPeerSettings({ maxTableCapacityBytes: TABLE_BYTES, maxBlockedStreams: BLOCKED_MAX })
    let isSpoiled = false
    try {
      for (const { operation, argument, payload } of steps(input, STEPS_MAX)) {
        isSpoiled ||= (operation & 3) === 3
        roundTripStep(encoder, decoder, operation & 3, argument, payload)
        promise(encoder.outstandingSections <= 8, `${encoder.outstandingSections} sections are remembered`)
      }
      return `${magnitude(encoder.insertCount)} ${encoder.outstandingSections} ${encoder.blockingStreams} ${isSpoiled}`
    } catch (error) {
      if (!(error instanceof H3ConnectionError)) throw error
      promise(
        isSpoiled && error.h3Name === 'QPACK_DECODER_STREAM_ERROR',
        `${error.h3Name} without a cause: ${error.message}`,
      )
      return `! ${shape(error.message)}`
    }
  },
}

function roundTripStep(
  encoder: QpackEncoder,
  decoder: QpackDecoder,
  operation: number,
  argument: number,
  payload: Uint8Array,
): void {
  if (operation === 3) return encoder.onDecoderStream(payload)
  if (operation === 2) decoder.cancelStream(argument * 4)
  if (operation !== 0) {
    const instructions = decoder.takeInstructions()
    if (instructions !== undefined) encoder.onDecoderStream(instructions)
    return
  }
  const lines: HeaderLine[] = []
  for (let at = 0; at + 1 < payload.length; at += 2) {
    const name = words[(payload[at] as number) % words.length] as string
    lines.push([name === '' ? 'x-empty' : name, words[(payload[at + 1] as number) % words.length] as string])
  }
  const section = encoder.encode(argument * 4, lines)
  const instructions = encoder.takeInstructions()
  if (instructions !== undefined) decoder.onEncoderStream(instructions)
  const decoded = decoder.decode(argument * 4, section, 0, section.length)
  promise(isDeepStrictEqual(decoded, lines), 'a section decodes to what was encoded')
}
