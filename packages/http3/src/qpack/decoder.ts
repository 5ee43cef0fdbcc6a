/** QPACK decoder (RFC 9204): turns encoded field sections and encoder instructions into field lines. */
import { FieldSectionTooLarge, H3ConnectionError } from '../errors.ts'
import type { HeaderLine, HeaderList } from '../headers.ts'
import { DynamicTable, ENTRY_OVERHEAD_BYTES } from './dynamic-table.ts'
import { PendingBytes } from './pending-bytes.ts'
import { INCOMPLETE, QpackReader, QpackWriter } from './primitives.ts'
import { staticTable } from './static-table.ts'

export interface QpackDecoderOptions {
  /** SETTINGS_QPACK_MAX_TABLE_CAPACITY that we announce: bounds the memory of the table. */
  readonly maxTableCapacityBytes: number
  /** SETTINGS_QPACK_BLOCKED_STREAMS that we announce. */
  readonly maxBlockedStreams: number
  /** SETTINGS_MAX_FIELD_SECTION_SIZE that we announce, counted as RFC 9114 §4.2.2 says; enforced while decoding. */
  readonly maxFieldSectionBytes: number
}

const failTable = (): never => {
  throw new H3ConnectionError('QPACK_ENCODER_STREAM_ERROR', 'entry is larger than the dynamic table capacity')
}

export class QpackDecoder {
  readonly #options: QpackDecoderOptions
  readonly #table: DynamicTable
  readonly #section: QpackReader
  readonly #instructions: QpackReader
  readonly #pending: PendingBytes
  readonly #out: QpackWriter
  /** Made once: strings over the limit call it from inside the reader. */
  readonly #onTooLarge: () => never
  #decodingStreamId: number
  /** Required Insert Count by blocked stream. */
  readonly #blocked: Map<number, number>
  #knownReceivedCount: number

  constructor(options: QpackDecoderOptions) {
    this.#options = options
    this.#table = new DynamicTable(options.maxTableCapacityBytes)
    this.#section = new QpackReader('QPACK_DECOMPRESSION_FAILED')
    this.#instructions = new QpackReader('QPACK_ENCODER_STREAM_ERROR')
    // Two strings of at most the capacity, Huffman-coded as badly as possible, and their prefixes.
    this.#pending = new PendingBytes(options.maxTableCapacityBytes * 8 + 64)
    this.#out = new QpackWriter(64)
    this.#onTooLarge = () => this.#abandon()
    this.#decodingStreamId = -1
    this.#blocked = new Map()
    this.#knownReceivedCount = 0
  }

  get insertCount(): number {
    return this.#table.insertCount
  }

  get tableBytes(): number {
    return this.#table.usedBytes
  }

  get blockedStreams(): number {
    return this.#blocked.size
  }

  /** Bytes of instructions that `takeInstructions` has not handed out yet. */
  get pendingInstructionBytes(): number {
    return this.#out.length
  }

  /** Takes bytes of the peer's encoder stream, in order. Throws QPACK_ENCODER_STREAM_ERROR. */
  onEncoderStream(chunk: Uint8Array): void {
    const reader = this.#instructions
    this.#pending.begin(chunk, reader)
    while (reader.offset < reader.end) {
      const start = reader.offset
      if (!this.#instruction(reader)) {
        reader.offset = start
        break
      }
    }
    if (!this.#pending.end(reader)) reader.fail('instruction is longer than the dynamic table could ever hold')
  }

  /**
   * A stream whose blocked section can be decoded now; call `decode` for it again. Undefined = none.
   */
  pollUnblocked(): number | undefined {
    for (const [streamId, required] of this.#blocked) {
      if (required > this.#table.insertCount) continue
      this.#blocked.delete(streamId)
      return streamId
    }
    return undefined
  }

  /**
   * Decodes one whole encoded field section, `bytes[start, end)`. Undefined = blocked until `pollUnblocked` names the
   * stream; the caller keeps the bytes. Throws H3ConnectionError(QPACK_DECOMPRESSION_FAILED), or FieldSectionTooLarge
   * after cancelling the stream's references.
   */
  decode(streamId: number, bytes: Uint8Array, start: number, end: number): HeaderList | undefined {
    const reader = this.#section
    reader.rewind(bytes, start, end)
    const requiredInsertCount = this.#requiredInsertCount(reader)
    const base = this.#base(reader, requiredInsertCount)
    if (requiredInsertCount > this.#table.insertCount) {
      this.#block(streamId, requiredInsertCount)
      return undefined
    }
    this.#decodingStreamId = streamId
    // RFC 9204 §2.2: "The decoder MUST emit field lines in the order their representations appear in the encoded field section."
    const lines: HeaderLine[] = []
    let sectionBytes = 0
    while (reader.offset < reader.end) {
      const room = this.#options.maxFieldSectionBytes - sectionBytes - ENTRY_OVERHEAD_BYTES
      if (room < 0) return this.#abandon()
      const line = this.#line(reader, requiredInsertCount, base, room)
      sectionBytes += line[0].length + line[1].length + ENTRY_OVERHEAD_BYTES
      if (sectionBytes > this.#options.maxFieldSectionBytes) return this.#abandon()
      lines.push(line)
    }
    if (requiredInsertCount > 0) {
      // RFC 9204 §2.2.2.1: "it MUST emit a Section Acknowledgment instruction"
      this.#out.integer(0x80, 7, streamId)
      if (requiredInsertCount > this.#knownReceivedCount) this.#knownReceivedCount = requiredInsertCount
    }
    return lines
  }

  /** The stream was reset, or we stop reading it, before all its sections were decoded (RFC 9204 §2.2.2.2). */
  cancelStream(streamId: number): void {
    this.#blocked.delete(streamId)
    // "A decoder with a maximum dynamic table capacity equal to zero MAY omit sending Stream Cancellations"
    if (this.#options.maxTableCapacityBytes > 0) this.#out.integer(0x40, 6, streamId)
  }

  /** Bytes for our decoder stream, or undefined when there are none. Call after any of the calls above. */
  takeInstructions(): Uint8Array | undefined {
    const increment = this.#table.insertCount - this.#knownReceivedCount
    if (increment > 0) {
      this.#out.integer(0x00, 6, increment)
      this.#knownReceivedCount = this.#table.insertCount
    }
    return this.#out.length === 0 ? undefined : this.#out.take()
  }

  #abandon(): never {
    this.cancelStream(this.#decodingStreamId)
    throw new FieldSectionTooLarge(this.#options.maxFieldSectionBytes)
  }

  #block(streamId: number, requiredInsertCount: number): void {
    if (!this.#blocked.has(streamId) && this.#blocked.size >= this.#options.maxBlockedStreams) {
      // RFC 9204 §2.1.2: more blocked streams than promised: "MUST treat this as a connection error"
      this.#section.fail(`more than ${this.#options.maxBlockedStreams} streams are blocked`)
    }
    this.#blocked.set(streamId, requiredInsertCount)
  }

  /** RFC 9204 §4.5.1.1. */
  #requiredInsertCount(reader: QpackReader): number {
    const encoded = reader.integer(8)
    if (encoded === INCOMPLETE) reader.fail('field section has no Required Insert Count')
    if (encoded === 0) return 0
    const fullRange = 2 * this.#table.maxEntries
    if (encoded > fullRange) reader.fail(`Required Insert Count ${encoded} cannot be encoded with this table capacity`)
    const maxValue = this.#table.insertCount + this.#table.maxEntries
    const maxWrapped = Math.floor(maxValue / fullRange) * fullRange
    let required = maxWrapped + encoded - 1
    if (required > maxValue) {
      if (required <= fullRange) reader.fail('Required Insert Count wraps below zero')
      required -= fullRange
    }
    if (required === 0) reader.fail('Required Insert Count of zero in a long form')
    return required
  }

  /** RFC 9204 §4.5.1.2. */
  #base(reader: QpackReader, requiredInsertCount: number): number {
    const negative = reader.offset < reader.end && ((reader.bytes[reader.offset] as number) & 0x80) !== 0
    const delta = reader.integer(7)
    if (delta === INCOMPLETE) reader.fail('field section has no Base')
    if (!negative) return requiredInsertCount + delta
    const base = requiredInsertCount - delta - 1
    // "The value of Base MUST NOT be negative"; reading on could not resolve its references anyway.
    if (base < 0) reader.fail('Base is negative')
    return base
  }

  #line(reader: QpackReader, required: number, base: number, room: number): HeaderLine {
    const first = reader.bytes[reader.offset] as number
    // Indexed Field Line, §4.5.2: 1 T index(6+)
    if (first >= 0x80) {
      const index = this.#index(reader, 6)
      if ((first & 0x40) !== 0) return this.#static(reader, index)
      return this.#dynamic(reader, base - index - 1, required)
    }
    // Literal Field Line with Name Reference, §4.5.4: 01 N T index(4+)
    if (first >= 0x40) {
      const index = this.#index(reader, 4)
      const name =
        (first & 0x10) !== 0
          ? this.#static(reader, index)[0]
          : this.#table.name(this.#checked(reader, base - index - 1, required))
      return [name, this.#value(reader, room)]
    }
    // Literal Field Line with Literal Name, §4.5.6: 001 N H length(3+)
    if (first >= 0x20) {
      const name = reader.string(3, Math.max(0, room), this.#onTooLarge)
      if (name === undefined) return reader.fail('field section ends inside a name')
      return [name, this.#value(reader, room)]
    }
    // Indexed Field Line with Post-Base Index, §4.5.3: 0001 index(4+)
    if (first >= 0x10) return this.#dynamic(reader, base + this.#index(reader, 4), required)
    // Literal Field Line with Post-Base Name Reference, §4.5.5: 0000 N index(3+)
    const index = base + this.#index(reader, 3)
    const name = this.#table.name(this.#checked(reader, index, required))
    return [name, this.#value(reader, room)]
  }

  #index(reader: QpackReader, prefixBits: number): number {
    const index = reader.integer(prefixBits)
    return index === INCOMPLETE ? reader.fail('field section ends inside an index') : index
  }

  #value(reader: QpackReader, room: number): string {
    const value = reader.string(7, Math.max(0, room), this.#onTooLarge)
    return value === undefined ? reader.fail('field section ends inside a value') : value
  }

  #static(reader: QpackReader, index: number): HeaderLine {
    // RFC 9204 §3.1: an invalid static index is QPACK_DECOMPRESSION_FAILED, or on the encoder stream …_ENCODER_STREAM_ERROR
    return staticTable[index] ?? reader.fail(`static table has no index ${index}`)
  }

  #dynamic(reader: QpackReader, index: number, required: number): HeaderLine {
    this.#checked(reader, index, required)
    return [this.#table.name(index), this.#table.value(index)]
  }

  /** RFC 9204 §2.2.3: references to evicted entries, or at and above the Required Insert Count, are errors. */
  #checked(reader: QpackReader, index: number, required: number): number {
    // RFC 9204 §2.2.1#2: a Required Insert Count "smaller than expected … MUST treat this as a connection error of type QPACK_DECOMPRESSION_FAILED"
    if (index >= required) reader.fail(`reference to entry ${index} at or above Required Insert Count ${required}`)
    if (!this.#table.has(index)) reader.fail(`reference to entry ${index}, which is not in the dynamic table`)
    return index
  }

  /** Executes one encoder instruction (§4.3). False = not all of it has arrived. */
  #instruction(reader: QpackReader): boolean {
    const first = reader.bytes[reader.offset] as number
    if (first >= 0x80) return this.#insertWithNameReference(reader, (first & 0x40) !== 0)
    if (first >= 0x40) return this.#insertWithLiteralName(reader)
    if (first >= 0x20) return this.#setCapacity(reader)
    const index = reader.integer(5)
    if (index === INCOMPLETE) return false
    const source = this.#relative(reader, index)
    this.#insert(this.#table.name(source), this.#table.value(source))
    return true
  }

  #insertWithNameReference(reader: QpackReader, isStatic: boolean): boolean {
    const index = reader.integer(6)
    if (index === INCOMPLETE) return false
    const name = isStatic ? this.#static(reader, index)[0] : this.#table.name(this.#relative(reader, index))
    const value = reader.string(7, this.#table.capacityBytes, failTable)
    if (value === undefined) return false
    this.#insert(name, value)
    return true
  }

  #insertWithLiteralName(reader: QpackReader): boolean {
    const name = reader.string(5, this.#table.capacityBytes, failTable)
    if (name === undefined) return false
    const value = reader.string(7, this.#table.capacityBytes, failTable)
    if (value === undefined) return false
    this.#insert(name, value)
    return true
  }

  #setCapacity(reader: QpackReader): boolean {
    const capacity = reader.integer(5)
    if (capacity === INCOMPLETE) return false
    // RFC 9204 §4.3.1: "MUST treat a new dynamic table capacity value that exceeds this limit as a connection error"
    if (capacity > this.#table.maxCapacityBytes) {
      reader.fail(`table capacity ${capacity} is above the limit of ${this.#table.maxCapacityBytes}`)
    }
    this.#table.setCapacity(capacity)
    return true
  }

  /** Relative index of an encoder instruction: 0 = the newest entry. */
  #relative(reader: QpackReader, index: number): number {
    const absolute = this.#table.insertCount - 1 - index
    if (!this.#table.has(absolute)) reader.fail(`instruction refers to entry ${absolute}, which is not in the table`)
    return absolute
  }

  #insert(name: string, value: string): void {
    // RFC 9204 §3.2.2: an entry larger than the capacity "MUST be treated … as a connection error"
    if (!this.#table.insert(name, value)) failTable()
  }
}
