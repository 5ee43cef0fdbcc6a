/** Reads what a decoder needs out of the TLS messages of one direction: client random and transport parameters. */
import { decodeTransportParameters, Reader, type TransportParameters } from '@quicether/wire'

/** More than a ClientHello with post-quantum keys, or ServerHello and EncryptedExtensions, ever take. */
const STREAM_BYTES_MAX = 16 * 1024
const RANGES_MAX = 64
const CLIENT_HELLO = 1
const ENCRYPTED_EXTENSIONS = 8
/** RFC 9001 §8.2. */
const QUIC_TRANSPORT_PARAMETERS = 57

/** The beginning of one CRYPTO stream, put together in any order. */
export class HandshakeReader {
  /** Hex; known as soon as the first 38 bytes of a ClientHello are. */
  clientRandom: string | undefined
  parameters: TransportParameters | undefined
  readonly #sender: 'client' | 'server'
  /** Grows with the data; empty again once everything has been read. */
  #bytes = new Uint8Array(0)
  /** Pieces behind a gap: start and end. */
  #ranges: [number, number][] = []
  #end = 0
  #isOver = false

  constructor(sender: 'client' | 'server') {
    this.#sender = sender
  }

  /** Takes the data of a CRYPTO frame; what lies beyond the limit is left out. */
  add(offset: number, data: Uint8Array): void {
    const end = Math.min(offset + data.length, STREAM_BYTES_MAX)
    if (this.#isOver || end <= this.#end || offset >= STREAM_BYTES_MAX) return
    if (end > this.#bytes.length) this.#grow(end)
    this.#bytes.set(data.subarray(0, end - offset), offset)
    this.#ranges.push([offset, end])
    this.#ranges.sort(([a], [b]) => a - b)
    for (const [from, to] of this.#ranges) if (from <= this.#end) this.#end = Math.max(this.#end, to)
    this.#ranges = this.#ranges.filter(([, to]) => to > this.#end).slice(0, RANGES_MAX)
    this.#read()
    if (this.parameters !== undefined) this.release()
  }

  /** Nothing more is read from here on. */
  release(): void {
    this.#isOver = true
    this.#bytes = new Uint8Array(0)
    this.#ranges = []
  }

  get isOver(): boolean {
    return this.#isOver
  }

  #grow(end: number): void {
    const larger = new Uint8Array(2 ** Math.ceil(Math.log2(end)))
    larger.set(this.#bytes)
    this.#bytes = larger
  }

  #read(): void {
    const bytes = this.#bytes
    if (this.clientRandom === undefined && this.#end >= 38 && bytes[0] === CLIENT_HELLO) {
      this.clientRandom = Buffer.from(bytes.subarray(6, 38)).toString('hex')
    }
    // RFC 8446 §4: messages of a type, 24 bits of length and a body
    for (let at = 0; at + 4 <= this.#end; ) {
      const end =
        at + 4 + (bytes[at + 1] as number) * 65_536 + (bytes[at + 2] as number) * 256 + (bytes[at + 3] as number)
      if (end > this.#end) return
      if (bytes[at] === CLIENT_HELLO || bytes[at] === ENCRYPTED_EXTENSIONS)
        this.#readExtensions(bytes[at] === CLIENT_HELLO, at + 4, end)
      at = end
    }
  }

  #readExtensions(isHello: boolean, start: number, end: number): void {
    const reader = new Reader(this.#bytes, start, end)
    try {
      if (isHello) {
        reader.skip(34)
        reader.skip(reader.u8())
        reader.skip(reader.u16())
        reader.skip(reader.u8())
      }
      reader.u16()
      while (reader.remaining >= 4) {
        const type = reader.u16()
        const length = reader.u16()
        const at = reader.skip(length)
        if (type !== QUIC_TRANSPORT_PARAMETERS) continue
        this.parameters = decodeTransportParameters(this.#bytes.slice(at, at + length), this.#sender)
      }
    } catch {
      // A message that does not parse: the packets are shown all the same, with defaults.
    }
  }
}
