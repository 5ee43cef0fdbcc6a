/** Frames reach the sink with the values on the wire; each violation gets the error code the RFC names. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TransportError, type TransportErrorName } from './errors.ts'
import { FrameType, frameTypeName, isAckEliciting, isProbingFrame, levelsOfFrame } from './frame-types.ts'
import { ACK_RANGES_MAX, AckElicitingBit, type FrameSink, NonProbingBit, decodeFrames } from './frames.ts'

const LEVEL_INITIAL = 0
const LEVEL_ZERO_RTT = 1
const LEVEL_ONE_RTT = 3

/** Writes every call as text: the sink's view of a packet. */
function recorder(log: string[]): FrameSink {
  return new Proxy({} as FrameSink, {
    get:
      (_target, name) =>
      (...words: unknown[]) => {
        const first = words[0]
        if (name === 'onAck') {
          const ack = first as {
            pathId: number
            delay: number
            count: number
            largest: Float64Array
            smallest: Float64Array
            hasEcn: boolean
            ce: number
          }
          const ranges = Array.from(
            { length: Math.min(ack.count, 5) },
            (_, i) => `${ack.smallest[i]}-${ack.largest[i]}`,
          )
          log.push(
            `onAck ${ack.pathId} ${ack.delay} ${ack.count} ${ranges.join(',')} ${ack.hasEcn ? `ce=${ack.ce}` : ''}`.trim(),
          )
        } else log.push(`${String(name)} ${words.join(' ')}`.trim())
      },
  })
}

function decode(
  bytes: readonly number[],
  level: number = LEVEL_ONE_RTT,
  multipath = false,
): { log: string[]; bits: number } {
  const log: string[] = []
  const bits = decodeFrames(Uint8Array.from(bytes), 0, bytes.length, level, multipath, recorder(log))
  return { log, bits }
}

function fails(
  bytes: readonly number[],
  name: TransportErrorName,
  level: number = LEVEL_ONE_RTT,
  multipath = false,
): void {
  assert.throws(
    () => decode(bytes, level, multipath),
    (error) => error instanceof TransportError && error.codeName === name,
    `${bytes} should be ${name}`,
  )
}

for (const [what, bytes, expected] of [
  ['PADDING and PING', [0, 0, 0, 1], ['onPadding 3', 'onPing']],
  ['ACK with two ranges', [2, 20, 5, 1, 3, 2, 4], ['onAck -1 5 2 17-20,9-13']],
  ['ACK with ECN counts', [3, 9, 0, 0, 9, 1, 2, 3], ['onAck -1 0 1 0-9 ce=3']],
  ['RESET_STREAM', [4, 8, 7, 30], ['onResetStream 8 7 30']],
  ['STOP_SENDING', [5, 8, 7], ['onStopSending 8 7']],
  ['CRYPTO', [6, 4, 2, 9, 9], ['onCrypto 4 3 5']],
  ['NEW_TOKEN', [7, 3, 1, 2, 3], ['onNewToken 2 5']],
  ['STREAM without offset and length', [8, 4, 1, 2], ['onStream 4 0 2 4 false']],
  ['STREAM with offset, length and FIN', [15, 4, 9, 1, 2], ['onStream 4 9 4 5 true']],
  ['MAX_DATA', [0x10, 44], ['onMaxData 44']],
  ['MAX_STREAM_DATA', [0x11, 4, 44], ['onMaxStreamData 4 44']],
  ['MAX_STREAMS', [0x12, 5, 0x13, 6], ['onMaxStreams true 5', 'onMaxStreams false 6']],
  [
    'BLOCKED frames',
    [0x14, 5, 0x15, 4, 6, 0x16, 7, 0x17, 8],
    ['onDataBlocked 5', 'onStreamDataBlocked 4 6', 'onStreamsBlocked true 7', 'onStreamsBlocked false 8'],
  ],
  [
    'NEW_CONNECTION_ID',
    [0x18, 2, 1, 2, 9, 9, ...new Array<number>(16).fill(5)],
    ['onNewConnectionId 0 false 2 1 4 2 6'],
  ],
  ['RETIRE_CONNECTION_ID', [0x19, 3], ['onRetireConnectionId 0 false 3']],
  ['PATH_CHALLENGE', [0x1a, 1, 2, 3, 4, 5, 6, 7, 8], ['onPathChallenge 1']],
  ['PATH_RESPONSE', [0x1b, 1, 2, 3, 4, 5, 6, 7, 8], ['onPathResponse 1']],
  ['CONNECTION_CLOSE', [0x1c, 10, 8, 1, 65], ['onConnectionClose false 10 8 4 5']],
  ['application CONNECTION_CLOSE', [0x1d, 10, 0], ['onConnectionClose true 10 0 3 3']],
  ['HANDSHAKE_DONE', [0x1e], ['onHandshakeDone']],
  ['DATAGRAM', [0x31, 2, 1, 1, 0x30, 7, 7, 7], ['onDatagram 2 4 4', 'onDatagram 5 8 4']],
] as const) {
  test(`${what} reaches the sink`, () => assert.deepEqual(decode(bytes).log, expected))
}

test('the frames of RFC 10069 reach the sink once multipath is negotiated, and are errors before', () => {
  const type = (value: number): number[] => [0x40 | (value >> 8), value & 0xff]
  const bytes = [
    0x3e,
    3,
    9,
    0,
    0,
    9,
    ...type(FrameType.PathAbandon),
    2,
    7,
    ...type(FrameType.PathStatusBackup),
    2,
    1,
    ...type(FrameType.PathStatusAvailable),
    2,
    2,
    ...type(FrameType.PathRetireConnectionId),
    2,
    5,
    ...type(FrameType.MaxPathId),
    8,
    ...type(FrameType.PathsBlocked),
    8,
    ...type(FrameType.PathCidsBlocked),
    1,
    4,
  ]
  assert.deepEqual(decode(bytes, LEVEL_ONE_RTT, true).log, [
    'onAck 3 0 1 0-9',
    'onPathAbandon 2 7',
    'onPathStatus 2 false 1',
    'onPathStatus 2 true 2',
    'onRetireConnectionId 2 true 5',
    'onMaxPathId 8',
    'onPathsBlocked 8',
    'onPathCidsBlocked 1 4',
  ])
  fails(bytes, 'FRAME_ENCODING_ERROR')
})

// spec: RFC 9000 §12.4, RFC 9000 §12.4
test('a packet without frames, an unknown frame, a long-winded frame type and a misplaced frame are errors', () => {
  fails([], 'PROTOCOL_VIOLATION')
  fails([0x20], 'FRAME_ENCODING_ERROR')
  fails([0x40, 0x01], 'PROTOCOL_VIOLATION')
  fails([0x10, 1], 'PROTOCOL_VIOLATION', LEVEL_INITIAL)
  fails([0x02, 1, 0, 0, 0], 'PROTOCOL_VIOLATION', LEVEL_ZERO_RTT)
  fails([0x1e], 'PROTOCOL_VIOLATION', LEVEL_ZERO_RTT)
  fails([0x1d, 0, 0], 'PROTOCOL_VIOLATION', LEVEL_INITIAL)
})

// spec: RFC 9000 §19.3.1, RFC 9000 §19.3.1
test('acknowledging negative packet numbers is an error', () => {
  fails([2, 3, 0, 0, 4], 'FRAME_ENCODING_ERROR')
  fails([2, 9, 0, 1, 3, 5, 0], 'FRAME_ENCODING_ERROR')
})

// spec: RFC 9000 §19.7, §19.15, RFC 9000 §19.7#2, §19.15#1, §19.15#6
test('empty tokens and impossible connection IDs are errors', () => {
  fails([7, 0], 'FRAME_ENCODING_ERROR')
  const token = new Array<number>(16).fill(0)
  fails([0x18, 1, 0, 0, ...token], 'FRAME_ENCODING_ERROR')
  fails([0x18, 1, 0, 21, ...new Array<number>(21).fill(1), ...token], 'FRAME_ENCODING_ERROR')
  fails([0x18, 1, 2, 1, 9, ...token], 'FRAME_ENCODING_ERROR')
})

// spec: RFC 9000 §19.11, RFC 9000 §4.6#1, §19.11#1, §19.14
test('a stream limit above 2^60 is an error, 2^60 is not', () => {
  fails([0x12, 0xd0, 0, 0, 0, 0, 0, 0, 1], 'FRAME_ENCODING_ERROR')
  assert.equal(decode([0x12, 0xd0, 0, 0, 0, 0, 0, 0, 0]).log.length, 1)
})

test('thousands of ACK ranges are checked but only so many are kept', () => {
  const ranges = 5000
  const bytes = [2, 0x80, 0, 0x40, 0, 0, 0x53, 0x88, 0]
  for (let i = 0; i < ranges; i++) bytes.push(0, 0)
  const { log } = decode(bytes)
  assert.match(log[0] as string, new RegExp(`^onAck -1 0 ${ACK_RANGES_MAX} `))
})

test('what elicits an acknowledgment and what is probing follows the tables of the RFCs', () => {
  assert.equal(decode([0]).bits, 0)
  assert.equal(decode([1]).bits, AckElicitingBit | NonProbingBit)
  assert.equal(decode([2, 0, 0, 0, 0]).bits, NonProbingBit)
  assert.equal(decode([0x1a, 1, 2, 3, 4, 5, 6, 7, 8, 0]).bits, AckElicitingBit)
  assert.ok(isAckEliciting(FrameType.HandshakeDone) && !isAckEliciting(FrameType.PathAck))
  assert.ok(isProbingFrame(FrameType.PathNewConnectionId) && !isProbingFrame(FrameType.PathAbandon))
  assert.equal(levelsOfFrame(0x3e7d), 0)
  assert.equal(frameTypeName(0x0e), 'stream')
  assert.equal(frameTypeName(FrameType.PathAbandon), 'path_abandon')
})

test('any bytes either decode or fail with a transport error', () => {
  const sink = recorder([])
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 100 }),
      fc.integer({ min: 0, max: 3 }),
      fc.boolean(),
      (bytes, level, multipath) => {
        try {
          decodeFrames(bytes, 0, bytes.length, level, multipath, sink)
        } catch (error) {
          assert.ok(error instanceof TransportError)
        }
      },
    ),
    { numRuns: 3000 },
  )
})
