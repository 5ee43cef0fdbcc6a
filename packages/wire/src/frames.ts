/** Decoder of packet payloads: calls one method of a sink per frame, with scalars and offsets, never objects. */
import { TransportError } from './errors.ts'
import { FrameType, isAckEliciting, isProbingFrame, levelsOfFrame } from './frame-types.ts'
import { readAddressList } from './server-addresses.ts'
import { Reader, varintLength } from './varint.ts'

/** Most ACK ranges kept from one frame; further (older) ranges are checked and left out. */
export const ACK_RANGES_MAX = 512

/** An ACK or PATH_ACK frame; reused, valid during `onAck` only. Ranges run from the largest numbers down. */
export class AckView {
  /** Path ID of a PATH_ACK, -1 for an ACK frame. */
  pathId = -1
  /** Raw ACK Delay, to be shifted by the sender's ack_delay_exponent. */
  delay = 0
  hasEcn = false
  ect0 = 0
  ect1 = 0
  ce = 0
  count = 0
  readonly largest: Float64Array = new Float64Array(ACK_RANGES_MAX)
  readonly smallest: Float64Array = new Float64Array(ACK_RANGES_MAX)
}

/** Receives the frames of one packet in order. Offsets point into the slab given to `decodeFrames`. */
export interface FrameSink {
  onPadding(count: number): void
  onPing(): void
  onAck(ack: AckView): void
  onResetStream(id: number, code: number, finalSize: number): void
  onStopSending(id: number, code: number): void
  onCrypto(offset: number, start: number, end: number): void
  onNewToken(start: number, end: number): void
  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void
  onMaxData(limit: number): void
  onMaxStreamData(id: number, limit: number): void
  onMaxStreams(bidirectional: boolean, limit: number): void
  onDataBlocked(limit: number): void
  onStreamDataBlocked(id: number, limit: number): void
  onStreamsBlocked(bidirectional: boolean, limit: number): void
  /** `pathId` is 0 for NEW_CONNECTION_ID; `isPathFrame` tells which frame it was. */
  onNewConnectionId(
    pathId: number,
    isPathFrame: boolean,
    sequence: number,
    retirePriorTo: number,
    cidStart: number,
    cidLength: number,
    tokenStart: number,
  ): void
  onRetireConnectionId(pathId: number, isPathFrame: boolean, sequence: number): void
  onPathChallenge(start: number): void
  onPathResponse(start: number): void
  onConnectionClose(application: boolean, code: number, frameType: number, start: number, end: number): void
  onHandshakeDone(): void
  /** `frameBytes` counts type and length field as well. */
  onDatagram(start: number, end: number, frameBytes: number): void
  onPathAbandon(pathId: number, code: number): void
  onPathStatus(pathId: number, available: boolean, sequence: number): void
  onMaxPathId(limit: number): void
  onPathsBlocked(limit: number): void
  onPathCidsBlocked(pathId: number, nextSequence: number): void
  /** `count` checked entries lie in `[start, end)`: `visitAddresses` reads them. */
  onAdditionalAddresses(sequence: number, count: number, start: number, end: number): void
}

/** Bits of `decodeFrames`' result. */
export const AckElicitingBit = 1
export const NonProbingBit = 2

const reader = new Reader(new Uint8Array(0))
const ackView = new AckView()

/**
 * Decodes the frames in `bytes[start, end)` of a packet of `level` (0 Initial, 1 0-RTT, 2 Handshake, 3 1-RTT).
 * `multipath` allows the frames of RFC 10069; ADDITIONAL_ADDRESSES is for the sink to refuse. Returns `AckElicitingBit | NonProbingBit` as they apply.
 * Throws TransportError on the first violation; frames before it have reached the sink. Not reentrant.
 */
export function decodeFrames(
  bytes: Uint8Array,
  start: number,
  end: number,
  level: number,
  multipath: boolean,
  sink: FrameSink,
): number {
  // RFC 9000 §12.4: "The payload of a packet that contains frames MUST contain at least one frame"
  if (start >= end) throw new TransportError('PROTOCOL_VIOLATION', 0, 'packet without frames')
  const r = reader
  r.rewind(bytes, start, end)
  const levelBit = 1 << level
  let bits = 0
  while (r.offset < end) {
    const typeStart = r.offset
    const type = r.varintClamped()
    r.frameType = type
    checkType(type, r.offset - typeStart, levelBit, multipath)
    if (isAckEliciting(type)) bits |= AckElicitingBit
    if (!isProbingFrame(type)) bits |= NonProbingBit
    decodeOne(r, typeStart, type, sink)
  }
  return bits
}

function checkType(type: number, encodedLength: number, levelBit: number, multipath: boolean): void {
  const levels = levelsOfFrame(type)
  // RFC 9000 §12.4: "An endpoint MUST treat the receipt of a frame of unknown type as a connection error of type FRAME_ENCODING_ERROR."
  if (levels === 0) throw new TransportError('FRAME_ENCODING_ERROR', type, `unknown frame type 0x${type.toString(16)}`)
  const isPathFrame = type >= FrameType.PathAck && type <= FrameType.PathCidsBlocked
  // RFC 10069 §4: "If an endpoint receives a multipath-specific frame in a different packet type, it MUST close the connection with an error of type PROTOCOL_VIOLATION": below, negotiated or not yet
  if (isPathFrame && !multipath && (levels & levelBit) !== 0) {
    throw new TransportError('FRAME_ENCODING_ERROR', type, 'multipath frame without negotiation')
  }
  // RFC 9000 §12.4: "the frame type field in all frames … MUST use the shortest possible encoding" (PROTOCOL_VIOLATION allowed)
  if (encodedLength !== varintLength(type))
    throw new TransportError('PROTOCOL_VIOLATION', type, 'frame type not in shortest form')
  // RFC 9000 §17.2.4: Handshake packets with frames of other types are PROTOCOL_VIOLATION
  // RFC 9000 §12.4: "An endpoint MUST treat receipt of a frame in a packet type that is not permitted as a connection error of type PROTOCOL_VIOLATION."
  if ((levels & levelBit) === 0)
    throw new TransportError('PROTOCOL_VIOLATION', type, 'frame not allowed in this packet type')
}

function decodeOne(r: Reader, typeStart: number, type: number, sink: FrameSink): void {
  if (type >= 0x08 && type <= 0x0f) return decodeStream(r, type, sink)
  switch (type) {
    case FrameType.Padding:
      return decodePadding(r, sink)
    case FrameType.Ping:
      return sink.onPing()
    case FrameType.Ack:
    case FrameType.AckEcn:
      return decodeAck(r, -1, type === FrameType.AckEcn, sink)
    case FrameType.Crypto:
      return decodeCrypto(r, sink)
    case FrameType.Datagram:
      return sink.onDatagram(r.offset, (r.offset = r.end), r.end - typeStart)
    case FrameType.DatagramLength: {
      const length = r.varint()
      const start = r.skip(length)
      return sink.onDatagram(start, start + length, start + length - typeStart)
    }
    case FrameType.ConnectionClose:
    case FrameType.ApplicationClose:
      return decodeClose(r, type === FrameType.ApplicationClose, sink)
    case FrameType.NewConnectionId:
      return decodeNewConnectionId(r, 0, false, sink)
    case FrameType.RetireConnectionId:
      return sink.onRetireConnectionId(0, false, r.varint())
    case FrameType.PathChallenge:
      return sink.onPathChallenge(r.skip(8))
    case FrameType.PathResponse:
      return sink.onPathResponse(r.skip(8))
    case FrameType.HandshakeDone:
      return sink.onHandshakeDone()
    case FrameType.NewToken: {
      const length = r.varint()
      // RFC 9000 §19.7: "A client MUST treat receipt of a NEW_TOKEN frame with an empty Token field as a connection error of type FRAME_ENCODING_ERROR."
      if (length === 0) throw new TransportError('FRAME_ENCODING_ERROR', type, 'empty token')
      const start = r.skip(length)
      return sink.onNewToken(start, start + length)
    }
    default:
      return type < FrameType.PathAck ? decodeStreamControl(r, type, sink) : decodePathFrame(r, type, sink)
  }
}

function decodePadding(r: Reader, sink: FrameSink): void {
  const from = r.offset
  while (r.offset < r.end && r.bytes[r.offset] === 0) r.offset++
  sink.onPadding(r.offset - from + 1)
}

function decodeStream(r: Reader, type: number, sink: FrameSink): void {
  const id = r.varint()
  const offset = (type & 0x04) !== 0 ? r.varintClamped() : 0
  const length = (type & 0x02) !== 0 ? r.varint() : r.remaining
  const start = r.skip(length)
  // RFC 9000 §19.8: "The largest offset delivered on a stream … cannot exceed 2^62-1" (we stop at 2^53)
  if (offset + length > Number.MAX_SAFE_INTEGER)
    throw new TransportError('FRAME_ENCODING_ERROR', type, 'offset too large')
  sink.onStream(id, offset, start, start + length, (type & 0x01) !== 0)
}

function decodeCrypto(r: Reader, sink: FrameSink): void {
  // RFC 9000 §19.6: "Receipt of a frame that exceeds this limit MUST be treated as a connection error of type FRAME_ENCODING_ERROR or CRYPTO_BUFFER_EXCEEDED."
  const offset = r.varintClamped()
  const length = r.varint()
  const start = r.skip(length)
  if (offset + length > Number.MAX_SAFE_INTEGER) {
    throw new TransportError('FRAME_ENCODING_ERROR', FrameType.Crypto, 'offset too large')
  }
  sink.onCrypto(offset, start, start + length)
}

function decodeAck(r: Reader, pathId: number, ecn: boolean, sink: FrameSink): void {
  const ack = ackView
  ack.pathId = pathId
  let largest = r.varint()
  ack.delay = r.varintClamped()
  const extraRanges = r.varint()
  let smallest = largest - r.varint()
  // RFC 9000 §19.3.1: "If any computed packet number is negative, an endpoint MUST generate a connection error of type FRAME_ENCODING_ERROR."
  if (smallest < 0) throw new TransportError('FRAME_ENCODING_ERROR', r.frameType, 'negative packet number in ACK')
  ack.largest[0] = largest
  ack.smallest[0] = smallest
  let count = 1
  for (let i = 0; i < extraRanges; i++) {
    largest = smallest - r.varint() - 2
    smallest = largest - r.varint()
    if (smallest < 0) throw new TransportError('FRAME_ENCODING_ERROR', r.frameType, 'negative packet number in ACK')
    if (count < ACK_RANGES_MAX) {
      ack.largest[count] = largest
      ack.smallest[count] = smallest
      count++
    }
  }
  ack.count = count
  ack.hasEcn = ecn
  ack.ect0 = ecn ? r.varintClamped() : 0
  ack.ect1 = ecn ? r.varintClamped() : 0
  ack.ce = ecn ? r.varintClamped() : 0
  sink.onAck(ack)
}

function decodeClose(r: Reader, application: boolean, sink: FrameSink): void {
  const code = r.varintClamped()
  const frameType = application ? 0 : r.varintClamped()
  const length = r.varint()
  const start = r.skip(length)
  sink.onConnectionClose(application, code, frameType, start, start + length)
}

function decodeNewConnectionId(r: Reader, pathId: number, isPathFrame: boolean, sink: FrameSink): void {
  const sequence = r.varint()
  const retirePriorTo = r.varint()
  const length = r.u8()
  // RFC 9000 §19.15: "Values less than 1 and greater than 20 are invalid and MUST be treated as a connection error of type FRAME_ENCODING_ERROR."
  if (length < 1 || length > 20) {
    throw new TransportError('FRAME_ENCODING_ERROR', r.frameType, `connection ID of ${length} bytes`)
  }
  // RFC 9000 §19.15: "Receiving a value in the Retire Prior To field that is greater than that in the Sequence Number field MUST be treated as … FRAME_ENCODING_ERROR"
  if (retirePriorTo > sequence) {
    throw new TransportError('FRAME_ENCODING_ERROR', r.frameType, `retire prior to ${retirePriorTo} above ${sequence}`)
  }
  const cidStart = r.skip(length)
  const tokenStart = r.skip(16)
  sink.onNewConnectionId(pathId, isPathFrame, sequence, retirePriorTo, cidStart, length, tokenStart)
}

// RFC 9000 §19.11: "This value cannot exceed 2^60 … MUST be treated as a connection error of type FRAME_ENCODING_ERROR"
function streamCount(r: Reader): number {
  const before = r.offset
  const count = r.varintClamped()
  // 2^60 does not fit a double's integer range: look at the top byte of an 8-byte varint (0xc0 | value >> 56)
  const top = r.bytes[before] as number
  if (r.offset - before === 8 && (top & 0x3f) >= 0x10) {
    const exact = top === 0xd0 && r.bytes.subarray(before + 1, before + 8).every((byte) => byte === 0)
    if (!exact) throw new TransportError('FRAME_ENCODING_ERROR', r.frameType, 'stream count above 2^60')
  }
  return count
}

function decodeStreamControl(r: Reader, type: number, sink: FrameSink): void {
  switch (type) {
    case FrameType.ResetStream:
      return sink.onResetStream(r.varint(), r.varintClamped(), r.varintClamped())
    case FrameType.StopSending:
      return sink.onStopSending(r.varint(), r.varintClamped())
    case FrameType.MaxData:
      return sink.onMaxData(r.varintClamped())
    case FrameType.MaxStreamData:
      return sink.onMaxStreamData(r.varint(), r.varintClamped())
    case FrameType.MaxStreamsBidi:
    case FrameType.MaxStreamsUni:
      return sink.onMaxStreams(type === FrameType.MaxStreamsBidi, streamCount(r))
    case FrameType.DataBlocked:
      return sink.onDataBlocked(r.varintClamped())
    case FrameType.StreamDataBlocked:
      return sink.onStreamDataBlocked(r.varint(), r.varintClamped())
    // RFC 9000 §19.14: a STREAMS_BLOCKED limit above 2^60 is STREAM_LIMIT_ERROR or FRAME_ENCODING_ERROR
    case FrameType.StreamsBlockedBidi:
    case FrameType.StreamsBlockedUni:
      return sink.onStreamsBlocked(type === FrameType.StreamsBlockedBidi, streamCount(r))
    default:
      throw new TransportError('FRAME_ENCODING_ERROR', type, `unknown frame type 0x${type.toString(16)}`)
  }
}

/** A path ID: a varint of at most 32 bits. */
// RFC 10069 §4, §4.6: no limit can be higher, so that a larger one is above it: PROTOCOL_VIOLATION, as is an invalid Maximum Path Identifier
function pathIdOf(r: Reader): number {
  const id = r.varintClamped()
  if (id > 0xffff_ffff) throw new TransportError('PROTOCOL_VIOLATION', r.frameType, 'path ID above 2^32-1')
  return id
}

function decodePathFrame(r: Reader, type: number, sink: FrameSink): void {
  switch (type) {
    case FrameType.AdditionalAddresses:
      return decodeAdditionalAddresses(r, sink)
    case FrameType.PathAck:
    case FrameType.PathAckEcn:
      return decodeAck(r, pathIdOf(r), type === FrameType.PathAckEcn, sink)
    case FrameType.PathAbandon:
      return sink.onPathAbandon(pathIdOf(r), r.varintClamped())
    case FrameType.PathStatusBackup:
    case FrameType.PathStatusAvailable:
      return sink.onPathStatus(pathIdOf(r), type === FrameType.PathStatusAvailable, r.varintClamped())
    case FrameType.PathNewConnectionId:
      return decodeNewConnectionId(r, pathIdOf(r), true, sink)
    case FrameType.PathRetireConnectionId:
      return sink.onRetireConnectionId(pathIdOf(r), true, r.varint())
    case FrameType.MaxPathId:
      return sink.onMaxPathId(pathIdOf(r))
    case FrameType.PathsBlocked:
      return sink.onPathsBlocked(pathIdOf(r))
    default:
      return sink.onPathCidsBlocked(pathIdOf(r), r.varint())
  }
}

// draft-piraux-quic-additional-addresses-03 §4
function decodeAdditionalAddresses(r: Reader, sink: FrameSink): void {
  const sequence = r.varint()
  const count = r.varint()
  const start = r.offset
  readAddressList(r, count)
  sink.onAdditionalAddresses(sequence, count, start, r.offset)
}
