/** Finds the QUIC transport parameters in a ClientHello before TLS reads it: compatible version negotiation needs them. */

const HANDSHAKE_CLIENT_HELLO = 1
const EXTENSION_TRANSPORT_PARAMETERS = 0x39

/** Bytes of the first handshake message including its 4-byte header, or undefined while the header is incomplete. */
export function firstMessageLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 4) return undefined
  return 4 + (((bytes[1] as number) << 16) | ((bytes[2] as number) << 8) | (bytes[3] as number))
}

/**
 * Value of the quic_transport_parameters extension (RFC 9001 §8.2) of a complete ClientHello; undefined when the
 * message is something else, is malformed or has no such extension. Judging it is left to TLS.
 */
export function transportParametersOf(message: Uint8Array): Uint8Array | undefined {
  if (message[0] !== HANDSHAKE_CLIENT_HELLO) return undefined
  let found: Uint8Array | undefined
  walkExtensions(message, (type, start, end) => {
    if (type === EXTENSION_TRANSPORT_PARAMETERS) found ??= message.subarray(start, end)
  })
  return found
}

/**
 * Whether a whole ClientHello has no quic_transport_parameters extension. Asked beside TLS, since rustls also takes the
 * extension of the drafts (0xffa5) for it. False for what is no ClientHello or malformed: TLS judges that.
 */
export function lacksTransportParameters(message: Uint8Array): boolean {
  if (message[0] !== HANDSHAKE_CLIENT_HELLO) return false
  let hasParameters = false
  const end = walkExtensions(message, (type) => {
    hasParameters ||= type === EXTENSION_TRANSPORT_PARAMETERS
  })
  return end === message.length && !hasParameters
}

/** Visits the extensions of a ClientHello in order; returns the offset behind the last one that is whole. */
function walkExtensions(message: Uint8Array, visit: (type: number, start: number, end: number) => void): number {
  // legacy_version (2), random (32), then session ID, cipher suites, compression methods, extensions (RFC 8446 §4.1.2)
  let at = 4 + 2 + 32
  at += 1 + (message[at] ?? 0)
  at += 2 + u16(message, at)
  at += 1 + (message[at] ?? 0)
  const end = at + 2 + u16(message, at)
  at += 2
  while (at + 4 <= end && end <= message.length) {
    const next = at + 4 + u16(message, at + 2)
    if (next > end) break
    visit(u16(message, at), at + 4, next)
    at = next
  }
  return at
}

function u16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)
}
