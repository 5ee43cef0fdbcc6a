/** Frame types (RFC 9000 §19, RFC 9221, RFC 10069, additional addresses) and where each may appear. */

export const FrameType = {
  Padding: 0x00,
  Ping: 0x01,
  Ack: 0x02,
  AckEcn: 0x03,
  ResetStream: 0x04,
  StopSending: 0x05,
  Crypto: 0x06,
  NewToken: 0x07,
  Stream: 0x08,
  MaxData: 0x10,
  MaxStreamData: 0x11,
  MaxStreamsBidi: 0x12,
  MaxStreamsUni: 0x13,
  DataBlocked: 0x14,
  StreamDataBlocked: 0x15,
  StreamsBlockedBidi: 0x16,
  StreamsBlockedUni: 0x17,
  NewConnectionId: 0x18,
  RetireConnectionId: 0x19,
  PathChallenge: 0x1a,
  PathResponse: 0x1b,
  ConnectionClose: 0x1c,
  ApplicationClose: 0x1d,
  HandshakeDone: 0x1e,
  Datagram: 0x30,
  DatagramLength: 0x31,
  PathAck: 0x3e,
  PathAckEcn: 0x3f,
  PathAbandon: 0x3e75,
  PathStatusBackup: 0x3e76,
  PathStatusAvailable: 0x3e77,
  PathNewConnectionId: 0x3e78,
  PathRetireConnectionId: 0x3e79,
  MaxPathId: 0x3e7a,
  PathsBlocked: 0x3e7b,
  PathCidsBlocked: 0x3e7c,
  /** draft-piraux-quic-additional-addresses-03: the experimental number of that version. */
  AdditionalAddresses: 0x925adda03,
} as const

const names = new Map<number, string>(
  Object.entries(FrameType).map(([name, type]) => [type, name.replace(/(?<!^)([A-Z])/g, '_$1').toLowerCase()]),
)

/** snake_case name of a frame type, as qlog spells it; `0x…` for unknown ones. */
export function frameTypeName(type: number): string {
  if (type >= 0x08 && type <= 0x0f) return 'stream'
  return names.get(type) ?? `0x${type.toString(16)}`
}

/** Packet kinds a frame may appear in: bit 1 << level. */
const I = 1
const Z = 2
const H = 4
const O = 8

// RFC 9000 §12.4, table 3
/** Bit mask of levels (1 << level) that may carry a frame type; 0 for unknown types. */
export function levelsOfFrame(type: number): number {
  if (type <= FrameType.Ping) return I | Z | H | O
  if (type <= FrameType.AckEcn) return I | H | O
  if (type === FrameType.Crypto) return I | H | O
  if (type === FrameType.NewToken || type === FrameType.HandshakeDone || type === FrameType.PathResponse) return O
  if (type === FrameType.RetireConnectionId) return O
  if (type === FrameType.ConnectionClose) return I | Z | H | O
  if (type <= FrameType.ApplicationClose) return Z | O
  if (type === FrameType.Datagram || type === FrameType.DatagramLength) return Z | O
  // RFC 10069: multipath frames are 1-RTT only
  if (type === FrameType.PathAck || type === FrameType.PathAckEcn) return O
  if (type >= FrameType.PathAbandon && type <= FrameType.PathCidsBlocked) return O
  // draft-piraux-quic-additional-addresses-03 §4: "can only appear in 1-RTT packets"
  if (type === FrameType.AdditionalAddresses) return O
  return 0
}

// RFC 9000 §9.1: "PATH_CHALLENGE, PATH_RESPONSE, NEW_CONNECTION_ID, and PADDING frames are "probing frames""
/** Whether a packet of only such frames is a probe and does not move the connection to another path. */
export function isProbingFrame(type: number): boolean {
  return (
    type === FrameType.Padding ||
    type === FrameType.PathChallenge ||
    type === FrameType.PathResponse ||
    type === FrameType.NewConnectionId ||
    type === FrameType.PathNewConnectionId
  )
}

// RFC 9002 §2: "Frames other than ACK, PADDING, and CONNECTION_CLOSE are considered ack-eliciting."
/** Whether the receiver owes an acknowledgment for a packet with this frame. */
export function isAckEliciting(type: number): boolean {
  return !(
    type === FrameType.Padding ||
    type === FrameType.Ack ||
    type === FrameType.AckEcn ||
    type === FrameType.PathAck ||
    type === FrameType.PathAckEcn ||
    type === FrameType.ConnectionClose ||
    type === FrameType.ApplicationClose
  )
}
