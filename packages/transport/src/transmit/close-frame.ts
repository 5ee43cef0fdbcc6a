/** CONNECTION_CLOSE as each packet type may carry it (RFC 9000 §19.19, §10.2.3). */
import { FrameType, transportErrorCodes } from '@quicether/wire'
import { EMPTY } from '../core.ts'
import type { CloseReason } from '../events.ts'
import { Level } from '../ports/crypto.ts'
import type { PacketWriter } from './packet-writer.ts'

/** What a CONNECTION_CLOSE tells. */
export interface CloseContents {
  readonly kind: 'transport' | 'application'
  readonly code: number
  readonly frameType?: number
  readonly reason: string
}

/** Bytes of the reason in Initial and Handshake packets: packets of later levels must fit behind them. */
const EARLY_REASON_BYTES_MAX = 100

/** What the peer is told about the end of a connection; undefined = nothing. */
export function closeContents(reason: CloseReason | undefined, isServer: boolean): CloseContents | undefined {
  if (reason?.kind === 'transport' || reason?.kind === 'application') return reason
  // A connection that closes rather than vanishes after a timeout has given up its handshake.
  if (reason?.kind !== 'idle') return undefined
  const code = isServer ? transportErrorCodes.CONNECTION_REFUSED : transportErrorCodes.NO_ERROR
  return { kind: 'transport', code, reason: `no handshake within ${reason.afterUs / 1e6} s` }
}

/** Writes the frame; the reason is cut where it does not fit. */
export function writeClose(packet: PacketWriter, reason: CloseContents): void {
  // RFC 9000 §12.5: application errors only appear in 0-RTT and 1-RTT packets
  const isEarly = packet.level !== Level.OneRtt
  // RFC 9000 §10.2.3: "a CONNECTION_CLOSE of type 0x1d MUST be replaced by a CONNECTION_CLOSE of type 0x1c when sending the frame in Initial or Handshake packets"
  const isApplication = reason.kind === 'application' && !isEarly
  const code = reason.kind === 'application' && isEarly ? 0x0c : reason.code
  const bytesMax = Math.min(isEarly ? EARLY_REASON_BYTES_MAX : Infinity, Math.max(0, packet.room - 40))
  const text = reason.kind === 'application' && isEarly ? EMPTY : encodeReason(reason.reason, bytesMax)
  packet.byte(isApplication ? FrameType.ApplicationClose : FrameType.ConnectionClose)
  packet.varint(code)
  if (!isApplication) packet.varint(reason.frameType ?? 0)
  packet.varint(text.length)
  packet.copy(text)
}

const encoder = new TextEncoder()

function encodeReason(reason: string, bytesMax: number): Uint8Array {
  const bytes = encoder.encode(reason)
  return bytes.length <= bytesMax ? bytes : bytes.subarray(0, bytesMax)
}
