/** The cryptography the engine needs from outside: packet protection in batches, TLS sessions, tokens, randomness. */

/** Encryption levels in the order of RFC 9001 §2.1. The numbers index arrays and appear in descriptors. */
export const Level = { Initial: 0, ZeroRtt: 1, Handshake: 2, OneRtt: 3 } as const
export type Level = (typeof Level)[keyof typeof Level]

/** Handle of one directional key held by the protection port. `NO_KEY` means: this direction does not exist. */
export type KeyId = number
export const NO_KEY: KeyId = -1

/** Keys for both directions of one encryption level, as seen from this endpoint. */
export interface KeyPair {
  /** Opens packets of the peer. */
  readonly rx: KeyId
  /** Seals our packets. */
  readonly tx: KeyId
}

/**
 * How long one key may live (RFC 9001 §6.6), in packets. `Infinity` where the AEAD sets no practical limit.
 */
export interface KeyLimits {
  readonly confidentialityPackets: number
  readonly integrityPackets: number
  /** TLS cipher suite name, e.g. `TLS_AES_128_GCM_SHA256`. */
  readonly cipherSuite: string
}

/** Words of one descriptor in the arrays given to `seal` and `open`. */
export const DESCRIPTOR_WORDS = 8

/** Input words of `PacketProtection.seal`. */
export const Seal = {
  /** Offset of the packet's first byte in the slab. */
  Offset: 0,
  /** Bytes of header, packet number included. */
  HeaderLength: 1,
  /** Bytes of the whole packet: header, plaintext and the 16 bytes the tag will fill. */
  Length: 2,
  PnLow: 3,
  PnHigh: 4,
  KeyId: 5,
  /** Path ID that enters the nonce (RFC 10069 §2.4); 0 for everything but 1-RTT packets of further paths. */
  PathId: 6,
  /** Bytes of the truncated packet number, 1 to 4. */
  PnLength: 7,
} as const

/** Input words of `PacketProtection.open`. */
export const OpenIn = {
  Offset: 0,
  /** Bytes from the first byte to the end of the protected payload, tag included. */
  Length: 1,
  /** Offset of the packet number field from the packet's first byte. */
  PnOffset: 2,
  KeyId: 3,
  PathId: 4,
  /** Packet number space handle (`createSpace`), whose largest opened number expands truncated ones. */
  Space: 5,
} as const

/** Output words of `PacketProtection.open`, written over the input words. */
export const OpenOut = {
  /** Offset of the plaintext payload in the slab. */
  PayloadOffset: 0,
  /** Bytes of plaintext, or a negative `OpenFailure`. */
  PayloadLength: 1,
  PnLow: 2,
  PnHigh: 3,
  /** First byte with header protection removed (also written to the slab). */
  FirstByte: 4,
  /** 1-RTT: how many key updates lie behind the key that opened the packet, modulo 2^31; other levels: 0. */
  Generation: 5,
} as const

/** Why a packet could not be opened. Negative so that it can share a word with a length. */
export const OpenFailure = { TooShort: -1, NoKey: -2, Authentication: -3 } as const

/**
 * Packet protection (RFC 9001 §5) over whole batches, in place. Implementations never throw for bad packets:
 * a packet that does not authenticate gets a negative payload length.
 */
export interface PacketProtection {
  /** Seals `count` packets described by `descriptors` in `bytes`: AEAD, then header protection. */
  seal(bytes: Uint8Array, descriptors: Int32Array, count: number): void
  /** Opens `count` packets in order: header protection, packet number, AEAD. Order matters for number expansion. */
  open(bytes: Uint8Array, descriptors: Int32Array, count: number): void

  /** Initial keys for a destination connection ID (RFC 9001 §5.2, RFC 9369 §3.3.1). */
  initialKeys(version: number, destinationCid: Uint8Array, side: 'client' | 'server'): KeyPair
  /** Limits of a key; the same for both directions of a level. */
  keyLimits(key: KeyId): KeyLimits
  /**
   * Key update (RFC 9001 §6) of a 1-RTT pair: next becomes current in both directions, the old receive key is kept as
   * previous until `dropPrevious`. A packet of the other key phase is opened with the previous key when one is kept and
   * its number is below the lowest number opened with the current key in that space, else with the next key.
   */
  rotate(keys: KeyPair): void
  dropPrevious(rx: KeyId): void
  /** Forgets and wipes a key. Closing `NO_KEY` or a closed key does nothing. */
  closeKey(key: KeyId): void

  /** A packet number space: remembers the largest number opened in it. */
  createSpace(): number
  closeSpace(space: number): void
}

/** What a TLS session asks the engine to do next, in this order. */
export type TlsStep =
  | { readonly kind: 'crypto'; readonly level: Level; readonly data: Uint8Array }
  | { readonly kind: 'keys'; readonly level: Level; readonly keys: KeyPair }

/** A TLS failure to be sent as CRYPTO_ERROR 0x0100 + alert (RFC 9001 §4.8). */
export interface TlsFailure {
  readonly alert: number
  /** For the operator: what TLS objected to. */
  readonly message: string
}

/** One TLS 1.3 handshake and what it agreed on. `close()` releases it; nothing depends on garbage collection. */
export interface TlsSession {
  /** Takes in-order CRYPTO bytes of one level. The bytes are borrowed. */
  read(level: Level, data: Uint8Array): TlsFailure | undefined
  /** Next bytes to send or keys to install; undefined when nothing is pending. */
  next(): TlsStep | undefined
  /** True until this side has finished its handshake. */
  isHandshaking(): boolean
  /** Peer's transport parameters, raw, as soon as known; before the handshake: those remembered for 0-RTT. */
  peerTransportParameters(): Uint8Array | undefined
  alpn(): string | undefined
  /** Server: name from SNI. Client: name asked for. */
  serverName(): string | undefined
  /** Client: whether the server accepted 0-RTT. Server: whether we accepted it. Meaningful after the handshake. */
  earlyDataAccepted(): boolean
  /** Whether this handshake resumed an earlier session. */
  resumed(): boolean
  /** DER certificates (or one raw public key) of the peer; empty when none was given. */
  peerCertificates(): readonly Uint8Array[]
  /** Client: compatible version negotiation (RFC 9368 §2.3) settled on another version; derive later keys for it. */
  setVersion(version: number): void
  exportKeyingMaterial(label: string, context: Uint8Array, lengthBytes: number): Uint8Array
  close(): void
}

export interface ClientTlsOptions {
  readonly version: number
  readonly serverName: string
  readonly alpn: readonly string[]
  readonly transportParameters: Uint8Array
  /** Offer 0-RTT when a session for the server is remembered. */
  readonly earlyData: boolean
}

export interface ServerTlsOptions {
  readonly version: number
  readonly transportParameters: Uint8Array
}

/** Client side of TLS with its trust, certificates and remembered sessions. */
export interface TlsClientContext {
  createSession(options: ClientTlsOptions): TlsSession
}

/** Server side of TLS with its certificates, ALPN and session store. */
export interface TlsServerContext {
  createSession(options: ServerTlsOptions): TlsSession
}

/** Endpoint-wide cryptography beside packet protection. */
export interface CryptoPort extends PacketProtection {
  /** Retry integrity tag over the Retry pseudo-packet (RFC 9001 §5.8, RFC 9369 §3.3.3): 16 bytes. */
  retryIntegrityTag(version: number, pseudoPacket: Uint8Array): Uint8Array
  /** Seals an address-validation token with the endpoint's own key; `nonce` is 12 random bytes, kept in the token. */
  sealToken(plaintext: Uint8Array, associated: Uint8Array, nonce: Uint8Array): Uint8Array
  /** Undefined when the token was not sealed by this endpoint or is bound to something else. */
  openToken(token: Uint8Array, associated: Uint8Array): Uint8Array | undefined
  /** Stateless reset token of a connection ID (RFC 9000 §10.3.2): keyed hash, 16 bytes. */
  statelessResetToken(cid: Uint8Array): Uint8Array
}

/** Cryptographic randomness; a seeded generator in the virtual world. */
export interface RandomSource {
  fill(bytes: Uint8Array): void
}
