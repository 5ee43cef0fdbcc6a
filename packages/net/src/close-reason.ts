/** Why a connection ended, as a sentence for people and as an error for programs. */
import { type CloseReason, QuicError } from '@quicether/transport'

/** Who, what, why in one sentence. */
export function describeCloseReason(reason: CloseReason): string {
  switch (reason.kind) {
    case 'transport': {
      const why = reason.reason === '' ? '' : `: ${reason.reason}`
      return `${by(reason.by)} closed the connection with ${reason.name} (0x${reason.code.toString(16)})${why}`
    }
    case 'application': {
      const why = reason.reason === '' ? '' : `: ${reason.reason}`
      return `${by(reason.by)} closed the connection with application code 0x${reason.code.toString(16)}${why}`
    }
    case 'idle':
      return `no packet came for ${Math.round(reason.afterUs / 1000)} ms`
    case 'reset':
      return 'the peer no longer knows the connection (stateless reset); it has probably been restarted'
    case 'version':
      return `the peer speaks none of our QUIC versions; it offers ${reason.offered.map(versionName).join(', ') || 'none'}`
  }
}

/** The error of a connection that ended before it was established. */
export function connectError(target: string, reason: CloseReason): QuicError {
  const message = `cannot connect to ${target}: ${describeCloseReason(reason)}${remedy(reason)}`
  return new QuicError(connectErrorCode(reason), message, { cause: reason })
}

function connectErrorCode(reason: CloseReason): string {
  if (reason.kind === 'idle') return 'ERR_HANDSHAKE_TIMEOUT'
  if (reason.kind === 'version') return 'ERR_VERSION'
  if (reason.kind !== 'transport') return 'ERR_CONNECTION_CLOSED'
  // RFC 9001 §4.8: 0x0100 + TLS alert
  if (reason.code >= 0x100 && reason.code <= 0x1ff) return reason.by === 'local' ? 'ERR_TLS' : 'ERR_TLS_REFUSED'
  // RFC 9000 §20.1: CONNECTION_REFUSED
  return reason.code === 2 ? 'ERR_CONNECTION_REFUSED' : 'ERR_CONNECTION_CLOSED'
}

function remedy(reason: CloseReason): string {
  if (reason.kind === 'idle') return '; is a QUIC server listening there, and does a firewall let UDP pass?'
  return ''
}

function by(side: 'local' | 'peer'): string {
  return side === 'local' ? 'we' : 'the peer'
}

function versionName(version: number): string {
  return `0x${(version >>> 0).toString(16)}`
}
