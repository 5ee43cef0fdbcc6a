/** Byte layout of the fake TLS 1.3 handshake: real message and extension types, real framing, toy contents. */

export const MessageType = {
  ClientHello: 1,
  ServerHello: 2,
  NewSessionTicket: 4,
  EncryptedExtensions: 8,
  Certificate: 11,
  CertificateVerify: 15,
  Finished: 20,
} as const

export const ExtensionType = {
  ServerName: 0,
  Alpn: 16,
  Padding: 21,
  PreSharedKey: 41,
  EarlyData: 42,
  SupportedVersions: 43,
  KeyShare: 51,
  TransportParameters: 57,
} as const

/** RFC 8446 §6 alert descriptions used here. */
export const Alert = {
  UnexpectedMessage: 10,
  HandshakeFailure: 40,
  BadCertificate: 42,
  DecodeError: 50,
  DecryptError: 51,
  MissingExtension: 109,
  NoApplicationProtocol: 120,
} as const

/** Largest handshake message taken from a peer. */
export const MESSAGE_BYTES_MAX = 65_536

export type Extensions = ReadonlyMap<number, Uint8Array>

/** A malformed or unwelcome message; the session turns it into a `TlsFailure`. */
export class TlsAlert extends Error {
  readonly alert: number

  constructor(alert: number, message: string) {
    super(message)
    this.alert = alert
  }
}

export class ByteWriter {
  #bytes: number[] = []

  uint(value: number, lengthBytes: 1 | 2 | 3 | 4): this {
    for (let shift = 8 * (lengthBytes - 1); shift >= 0; shift -= 8) this.#bytes.push((value >>> shift) & 0xff)
    return this
  }

  raw(data: Uint8Array): this {
    for (const byte of data) this.#bytes.push(byte)
    return this
  }

  /** Bytes behind their length. */
  vector(data: Uint8Array, lengthBytes: 1 | 2 | 3): this {
    return this.uint(data.length, lengthBytes).raw(data)
  }

  end(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isEmpty(): boolean {
    return this.#at === this.#bytes.length
  }

  uint(lengthBytes: number): number {
    let value = 0
    for (const byte of this.raw(lengthBytes)) value = value * 256 + byte
    return value
  }

  raw(lengthBytes: number): Uint8Array {
    if (this.#at + lengthBytes > this.#bytes.length)
      throw new TlsAlert(Alert.DecodeError, 'a handshake message is cut short')
    this.#at += lengthBytes
    return this.#bytes.slice(this.#at - lengthBytes, this.#at)
  }

  vector(lengthBytes: number): Uint8Array {
    return this.raw(this.uint(lengthBytes))
  }
}

/** Frames a handshake message: type, 24-bit length, body. */
export function frameMessage(type: number, body: Uint8Array): Uint8Array {
  return new ByteWriter().uint(type, 1).vector(body, 3).end()
}

export function encodeExtensions(extensions: Extensions): Uint8Array {
  const writer = new ByteWriter()
  for (const [type, body] of extensions) writer.uint(type, 2).vector(body, 2)
  return writer.end()
}

export function decodeExtensions(bytes: Uint8Array): Extensions {
  const reader = new ByteReader(bytes)
  const found = new Map<number, Uint8Array>()
  while (!reader.isEmpty) {
    const type = reader.uint(2)
    if (found.has(type)) throw new TlsAlert(Alert.DecodeError, `extension ${type} appears twice`)
    found.set(type, reader.vector(2))
  }
  return found
}

export interface HelloMessage {
  readonly random: Uint8Array
  readonly extensions: Extensions
}

export function encodeClientHello(random: Uint8Array, sessionId: Uint8Array, extensions: Extensions): Uint8Array {
  const body = new ByteWriter()
    .uint(0x0303, 2)
    .raw(random)
    .vector(sessionId, 1)
    .uint(2, 2)
    .uint(0x1301, 2)
    .uint(1, 1)
    .uint(0, 1)
    .vector(encodeExtensions(extensions), 2)
  return frameMessage(MessageType.ClientHello, body.end())
}

export function decodeClientHello(body: Uint8Array): HelloMessage {
  const reader = new ByteReader(body)
  reader.uint(2)
  const random = reader.raw(32)
  reader.vector(1)
  reader.vector(2)
  reader.vector(1)
  return { random, extensions: endWithExtensions(reader) }
}

export function encodeServerHello(random: Uint8Array, extensions: Extensions): Uint8Array {
  const body = new ByteWriter().uint(0x0303, 2).raw(random).uint(0, 1).uint(0x1301, 2).uint(0, 1)
  return frameMessage(MessageType.ServerHello, body.vector(encodeExtensions(extensions), 2).end())
}

export function decodeServerHello(body: Uint8Array): HelloMessage {
  const reader = new ByteReader(body)
  reader.uint(2)
  const random = reader.raw(32)
  reader.uint(4)
  return { random, extensions: endWithExtensions(reader) }
}

function endWithExtensions(reader: ByteReader): Extensions {
  const extensions = decodeExtensions(reader.vector(2))
  if (!reader.isEmpty) throw new TlsAlert(Alert.DecodeError, 'bytes are left over after the extensions')
  return extensions
}

export function encodeAlpn(protocols: readonly string[]): Uint8Array {
  const writer = new ByteWriter()
  for (const protocol of protocols) writer.vector(textBytes(protocol), 1)
  return new ByteWriter().vector(writer.end(), 2).end()
}

export function decodeAlpn(body: Uint8Array): string[] {
  const reader = new ByteReader(new ByteReader(body).vector(2))
  const protocols: string[] = []
  while (!reader.isEmpty) protocols.push(bytesText(reader.vector(1)))
  return protocols
}

export function encodeServerName(name: string): Uint8Array {
  const entry = new ByteWriter().uint(0, 1).vector(textBytes(name), 2).end()
  return new ByteWriter().vector(entry, 2).end()
}

export function decodeServerName(body: Uint8Array): string {
  const reader = new ByteReader(new ByteReader(body).vector(2))
  reader.uint(1)
  return bytesText(reader.vector(2))
}

/** Latin-1, which is all that protocol and host names need here. */
export function textBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff)
}

export function bytesText(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}
