/** Prefixed integers and string literals of RFC 9204 §4.1, written to a growing buffer and read from fixed ones. */
import { H3ConnectionError, type H3ErrorName, H3StreamError } from '../errors.ts'
import { huffmanDecode, huffmanEncode, huffmanLength } from './huffman.ts'

/** Largest integer accepted. RFC 9204 §4.1.1 asks for 62 bits; nothing here can use 2^53 and more. */
const INTEGER_MAX = Number.MAX_SAFE_INTEGER

/** Returned by `QpackReader` when the bytes end inside a value. */
export const INCOMPLETE = -1

/** Bytes that grow as they are written; reused between field sections. */
export class QpackWriter {
  bytes: Uint8Array
  length: number

  constructor(capacityBytes = 256) {
    this.bytes = new Uint8Array(capacityBytes)
    this.length = 0
  }

  /** Writes an integer behind `bits` flag bits of the first octet: `prefixBits` (1..8) hold the start of the value. */
  integer(flags: number, prefixBits: number, value: number): void {
    this.#room(10)
    const max = (1 << prefixBits) - 1
    if (value < max) {
      this.bytes[this.length++] = flags | value
      return
    }
    this.bytes[this.length++] = flags | max
    let rest = value - max
    while (rest >= 128) {
      this.bytes[this.length++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.bytes[this.length++] = rest
  }

  /** Writes a latin1 string literal; the Huffman flag is the bit above the length prefix. Huffman where it is shorter. */
  string(flags: number, prefixBits: number, text: string): void {
    const coded = huffmanLength(text)
    if (coded < text.length) {
      this.integer(flags | (1 << prefixBits), prefixBits, coded)
      this.#room(coded)
      this.length = huffmanEncode(text, this.bytes, this.length)
      return
    }
    this.integer(flags, prefixBits, text.length)
    this.#room(text.length)
    for (let i = 0; i < text.length; i++) this.bytes[this.length++] = text.charCodeAt(i)
  }

  append(other: Uint8Array): void {
    this.#room(other.length)
    this.bytes.set(other, this.length)
    this.length += other.length
  }

  /** A copy of what was written; the writer starts again. */
  take(): Uint8Array {
    const copy = this.bytes.slice(0, this.length)
    this.length = 0
    return copy
  }

  #room(extra: number): void {
    const needed = this.length + extra
    if (needed <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }
}

/** Scratch for one decoded string; grows up to the largest string ever accepted. */
let scratch: Uint8Array = new Uint8Array(4096)

/** A cursor over one field section or the instructions received so far. */
export class QpackReader {
  bytes: Uint8Array
  offset: number
  end: number
  /** Error to raise for malformed input. */
  readonly errorName: H3ErrorName

  constructor(errorName: H3ErrorName) {
    this.bytes = new Uint8Array(0)
    this.offset = 0
    this.end = 0
    this.errorName = errorName
  }

  rewind(bytes: Uint8Array, offset: number, end: number): void {
    this.bytes = bytes
    this.offset = offset
    this.end = end
  }

  fail(reason: string): never {
    throw new H3ConnectionError(this.errorName, reason)
  }

  // RFC 9204 §7.4: "a value larger than it is able to decode … MUST be treated as a stream error of type QPACK_DECOMPRESSION_FAILED if on a request stream or a connection error of the appropriate type if on the encoder or decoder stream"
  #failTooLarge(reason: string): never {
    if (this.errorName === 'QPACK_DECOMPRESSION_FAILED') throw new H3StreamError(this.errorName, reason)
    return this.fail(reason)
  }

  /** Integer in the low `prefixBits` of the octet at the cursor, or INCOMPLETE. */
  integer(prefixBits: number): number {
    if (this.offset >= this.end) return INCOMPLETE
    const max = (1 << prefixBits) - 1
    let value = (this.bytes[this.offset++] as number) & max
    if (value < max) return value
    let scale = 1
    for (let octets = 0; ; octets++) {
      if (this.offset >= this.end) return INCOMPLETE
      // Ten octets hold 70 bits: longer encodings only add zeros, and a peer could add them for ever.
      if (octets >= 10) this.#failTooLarge('integer is encoded in more than 11 octets')
      const octet = this.bytes[this.offset++] as number
      value += (octet & 0x7f) * scale
      if (value > INTEGER_MAX) this.#failTooLarge('integer of 2^53 or more')
      if (octet < 0x80) return value
      scale *= 128
    }
  }

  /**
   * String literal with a length prefix of `prefixBits` below its Huffman flag. Undefined = incomplete.
   * Strings that decode to more than `maxBytes` call `tooLong`, before their bytes have arrived where possible.
   */
  string(prefixBits: number, maxBytes: number, tooLong: () => never): string | undefined {
    if (this.offset >= this.end) return undefined
    const isHuffman = ((this.bytes[this.offset] as number) & (1 << prefixBits)) !== 0
    const length = this.integer(prefixBits)
    if (length === INCOMPLETE) return undefined
    // The shortest code has 5 bits, the longest 30: bounds for the decoded length without decoding.
    if (isHuffman ? Math.floor((length * 8 - 7) / 30) > maxBytes : length > maxBytes) tooLong()
    if (length > this.end - this.offset) return undefined
    const start = this.offset
    this.offset += length
    if (!isHuffman) return latin1(this.bytes, start, this.offset)
    const bound = Math.min(Math.floor((length * 8) / 5), maxBytes)
    if (scratch.length < bound) scratch = new Uint8Array(bound)
    const count = huffmanDecode(this.bytes, start, this.offset, scratch)
    if (count === -1) this.fail('string is not a valid Huffman code (RFC 7541 §5.2)')
    if (count === -2 || count > maxBytes) tooLong()
    return latin1(scratch, 0, count)
  }
}

const LATIN1_CHUNK = 2048

/** Characters U+0000..U+00FF of `bytes[start, end)`. TextDecoder's "latin1" is windows-1252 and would change bytes. */
export function latin1(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= LATIN1_CHUNK) return String.fromCharCode.apply(null, codeUnits(bytes, start, end))
  let text = ''
  for (let at = start; at < end; at += LATIN1_CHUNK) text += latin1(bytes, at, Math.min(at + LATIN1_CHUNK, end))
  return text
}

function codeUnits(bytes: Uint8Array, start: number, end: number): number[] {
  // The signature of apply wants number[]; a typed array is array-like, which is what the language asks for.
  return bytes.subarray(start, end) as unknown as number[]
}
