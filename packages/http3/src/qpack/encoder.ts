/** QPACK encoder (RFC 9204): turns field lines into encoded field sections and instructions for the peer's table. */
import type { HeaderList } from '../headers.ts'
import { DynamicTable, entryBytes } from './dynamic-table.ts'
import { isSensitive, RecentLines, shouldIndex } from './indexing-policy.ts'
import { PendingBytes } from './pending-bytes.ts'
import { INCOMPLETE, QpackReader, QpackWriter } from './primitives.ts'
import { staticIndexOf, staticNameIndexOf } from './static-table.ts'

export interface QpackEncoderOptions {
  /** Memory we spend on the table, whatever the peer allows. */
  readonly maxTableCapacityBytes: number
  /** Field sections that the peer may leave unacknowledged before we stop using the table. */
  readonly maxOutstandingSections: number
}

/** A field section whose references are not acknowledged. */
interface Section {
  readonly requiredInsertCount: number
  readonly references: readonly number[]
}

export class QpackEncoder {
  readonly #options: QpackEncoderOptions
  #table: DynamicTable
  /** Outstanding references by slot of the absolute index, see `#slot`. */
  #references: Uint32Array
  readonly #newestByLine: Map<string, number>
  readonly #newestByName: Map<string, number>
  readonly #recent: RecentLines
  /** Outstanding sections by stream, oldest first. */
  readonly #sections: Map<number, Section[]>
  #sectionCount: number
  /** Streams with a section that needs entries the peer has not acknowledged, and how many such sections. */
  readonly #blocking: Map<number, number>
  #maxBlockedStreams: number
  #knownReceivedCount: number
  readonly #body: QpackWriter
  readonly #prefix: QpackWriter
  readonly #instructions: QpackWriter
  readonly #reader: QpackReader
  readonly #pending: PendingBytes
  #canInsert: boolean

  constructor(options: QpackEncoderOptions) {
    this.#options = options
    this.#table = new DynamicTable(0)
    this.#references = new Uint32Array(0)
    this.#newestByLine = new Map()
    this.#newestByName = new Map()
    this.#recent = new RecentLines()
    this.#sections = new Map()
    this.#sectionCount = 0
    this.#blocking = new Map()
    this.#maxBlockedStreams = 0
    this.#knownReceivedCount = 0
    this.#body = new QpackWriter(512)
    this.#prefix = new QpackWriter(16)
    this.#instructions = new QpackWriter(256)
    this.#reader = new QpackReader('QPACK_DECODER_STREAM_ERROR')
    // An instruction is one integer.
    this.#pending = new PendingBytes(16)
    this.#canInsert = true
  }

  get insertCount(): number {
    return this.#table.insertCount
  }

  get outstandingSections(): number {
    return this.#sectionCount
  }

  /** Streams that the peer could be blocked on now. */
  get blockingStreams(): number {
    return this.#blocking.size
  }

  /**
   * False while our encoder stream is stuck: RFC 9204 §2.1.3 wants no instruction written that flow control would hold
   * back, since streams that refer to it would wait for it.
   */
  set canInsert(value: boolean) {
    this.#canInsert = value
  }

  /** The peer's SETTINGS arrived. Call once; before it only the static table is used. */
  onPeerSettings(settings: { readonly maxTableCapacityBytes: number; readonly maxBlockedStreams: number }): void {
    this.#maxBlockedStreams = settings.maxBlockedStreams
    // RFC 9204 §3.2.3#1: "The encoder MUST NOT set a dynamic table capacity that exceeds this maximum"
    const capacity = Math.min(settings.maxTableCapacityBytes, this.#options.maxTableCapacityBytes)
    // RFC 9204 §3.2.3#3, §3.2.3#4: with a maximum of zero "the encoder MUST NOT insert entries into the dynamic table and MUST NOT send any encoder instructions"
    if (capacity < 64) return
    // MaxEntries of the Required Insert Count follows from the peer's maximum, not from the capacity in use.
    this.#table = new DynamicTable(settings.maxTableCapacityBytes, (index, name, value) => {
      const line = `${name}\n${value}`
      if (this.#newestByLine.get(line) === index) this.#newestByLine.delete(line)
      if (this.#newestByName.get(name) === index) this.#newestByName.delete(name)
    })
    this.#table.setCapacity(capacity)
    this.#references = new Uint32Array(Math.floor(capacity / 32))
    this.#instructions.integer(0x20, 5, capacity)
  }

  /** Encodes one header or trailer section for a stream. Names are in lower case, text is latin1. */
  encode(streamId: number, lines: HeaderList): Uint8Array {
    const base = this.#table.insertCount
    const references: number[] = []
    const mayBlock = this.#mayBlock(streamId)
    const useTable = this.#table.capacityBytes > 0 && this.#sectionCount < this.#options.maxOutstandingSections
    // RFC 9204 §2.1: "An encoder MUST emit field representations in the order they appear in the input field section."
    for (const line of lines) this.#line(line[0], line[1], base, references, mayBlock, useTable)
    let required = 0
    for (const index of references) if (index >= required) required = index + 1
    this.#writePrefix(required, base)
    if (required > 0) this.#remember(streamId, { requiredInsertCount: required, references })
    this.#prefix.append(this.#body.bytes.subarray(0, this.#body.length))
    this.#body.length = 0
    return this.#prefix.take()
  }

  /** Bytes for our encoder stream, or undefined. They must be written before the section that refers to them. */
  takeInstructions(): Uint8Array | undefined {
    return this.#instructions.length === 0 ? undefined : this.#instructions.take()
  }

  /** Takes bytes of the peer's decoder stream, in order. Throws QPACK_DECODER_STREAM_ERROR. */
  onDecoderStream(chunk: Uint8Array): void {
    const reader = this.#reader
    this.#pending.begin(chunk, reader)
    while (reader.offset < reader.end) {
      const start = reader.offset
      const first = reader.bytes[start] as number
      const value = reader.integer(first >= 0x80 ? 7 : 6)
      if (value === INCOMPLETE) {
        reader.offset = start
        break
      }
      if (first >= 0x80) this.#onSectionAcknowledged(value)
      else if (first >= 0x40) this.#onStreamCancelled(value)
      else this.#onInsertCountIncrement(value)
    }
    if (!this.#pending.end(reader)) reader.fail('instruction is longer than any integer')
  }

  #onSectionAcknowledged(streamId: number): void {
    const sections = this.#sections.get(streamId)
    const section = sections?.shift()
    // RFC 9204 §4.4.1: an acknowledgment without an outstanding section is QPACK_DECODER_STREAM_ERROR
    if (sections === undefined || section === undefined) {
      this.#reader.fail(`acknowledgment for stream ${streamId}, which has no outstanding field section`)
      return
    }
    if (sections.length === 0) this.#sections.delete(streamId)
    this.#release(section)
    if (section.requiredInsertCount > this.#knownReceivedCount) this.#advance(section.requiredInsertCount)
    else this.#recountBlocking(streamId)
  }

  #onStreamCancelled(streamId: number): void {
    const sections = this.#sections.get(streamId)
    // Streams without references are cancelled too: the decoder cannot know.
    if (sections === undefined) return
    for (const section of sections) this.#release(section)
    this.#sections.delete(streamId)
    this.#blocking.delete(streamId)
  }

  #onInsertCountIncrement(increment: number): void {
    // RFC 9204 §4.4.3: zero, or beyond what was sent, is QPACK_DECODER_STREAM_ERROR
    if (increment === 0) this.#reader.fail('Insert Count Increment of zero')
    const count = this.#knownReceivedCount + increment
    if (count > this.#table.insertCount) {
      this.#reader.fail(`peer acknowledges ${count} insertions, ${this.#table.insertCount} were sent`)
    }
    this.#advance(count)
  }

  #advance(knownReceivedCount: number): void {
    this.#knownReceivedCount = knownReceivedCount
    for (const streamId of [...this.#blocking.keys()]) this.#recountBlocking(streamId)
  }

  #recountBlocking(streamId: number): void {
    let count = 0
    for (const section of this.#sections.get(streamId) ?? []) {
      if (section.requiredInsertCount > this.#knownReceivedCount) count++
    }
    if (count === 0) this.#blocking.delete(streamId)
    else this.#blocking.set(streamId, count)
  }

  #release(section: Section): void {
    this.#sectionCount--
    for (const index of section.references) {
      const slot = index % this.#references.length
      this.#references[slot] = (this.#references[slot] as number) - 1
    }
  }

  #remember(streamId: number, section: Section): void {
    const sections = this.#sections.get(streamId)
    if (sections === undefined) this.#sections.set(streamId, [section])
    else sections.push(section)
    this.#sectionCount++
    if (section.requiredInsertCount > this.#knownReceivedCount) {
      this.#blocking.set(streamId, (this.#blocking.get(streamId) ?? 0) + 1)
    }
  }

  /** RFC 9204 §2.1.2: "An encoder MUST limit the number of streams that could become blocked". */
  #mayBlock(streamId: number): boolean {
    return this.#blocking.has(streamId) || this.#blocking.size < this.#maxBlockedStreams
  }

  #line(name: string, value: string, base: number, references: number[], mayBlock: boolean, useTable: boolean): void {
    if (isSensitive(name)) {
      this.#literal(name, value, base, references, mayBlock, useTable, true)
      return
    }
    const staticIndex = staticIndexOf(name, value)
    if (staticIndex >= 0) {
      this.#body.integer(0xc0, 6, staticIndex)
      return
    }
    if (useTable) {
      const index = this.#findOrInsert(name, value)
      if (index >= 0 && (mayBlock || index < this.#knownReceivedCount)) {
        this.#refer(index, references)
        if (index < base) this.#body.integer(0x80, 6, base - index - 1)
        else this.#body.integer(0x10, 4, index - base)
        return
      }
    }
    this.#literal(name, value, base, references, mayBlock, useTable, false)
  }

  /** Absolute index of the line in the table, inserted if policy and room allow, or -1. */
  #findOrInsert(name: string, value: string): number {
    const key = `${name}\n${value}`
    const known = this.#newestByLine.get(key)
    if (known !== undefined) {
      if (!this.#isDraining(known) || !this.#hasRoom(name, value)) return known
      // RFC 9204 §2.1.1.1: refer to a fresh duplicate, so that the old entry can be evicted some day.
      this.#instructions.integer(0x00, 5, this.#table.insertCount - 1 - known)
      return this.#insert(name, value, key)
    }
    if (!shouldIndex(name, value, this.#table.capacityBytes, this.#recent) || !this.#hasRoom(name, value)) return -1
    const staticName = staticNameIndexOf(name)
    const dynamicName = staticName >= 0 ? undefined : this.#newestByName.get(name)
    if (staticName >= 0) this.#instructions.integer(0xc0, 6, staticName)
    else if (dynamicName !== undefined) this.#instructions.integer(0x80, 6, this.#table.insertCount - 1 - dynamicName)
    else this.#instructions.string(0x40, 5, name)
    this.#instructions.string(0x00, 7, value)
    return this.#insert(name, value, key)
  }

  #insert(name: string, value: string, key: string): number {
    const index = this.#table.insertCount
    this.#table.insert(name, value)
    this.#references[index % this.#references.length] = 0
    this.#newestByLine.set(key, index)
    this.#newestByName.set(name, index)
    return index
  }

  /** Whether the line fits when only evictable entries leave: acknowledged and without references (§2.1.1). */
  #hasRoom(name: string, value: string): boolean {
    if (!this.#canInsert) return false
    const table = this.#table
    let excess = table.usedBytes + entryBytes(name, value) - table.capacityBytes
    for (let index = table.oldestIndex; excess > 0; index++) {
      if (index >= this.#knownReceivedCount) return false
      if ((this.#references[index % this.#references.length] as number) > 0) return false
      excess -= entryBytes(table.name(index), table.value(index))
    }
    return true
  }

  /** In the oldest quarter of the entries of a table that is nearly full. */
  #isDraining(index: number): boolean {
    const table = this.#table
    if (table.usedBytes * 4 < table.capacityBytes * 3 || index >= this.#knownReceivedCount) return false
    return index - table.oldestIndex < (table.insertCount - table.oldestIndex) >>> 2
  }

  #refer(index: number, references: number[]): void {
    references.push(index)
    const slot = index % this.#references.length
    this.#references[slot] = (this.#references[slot] as number) + 1
  }

  #literal(
    name: string,
    value: string,
    base: number,
    references: number[],
    mayBlock: boolean,
    useTable: boolean,
    never: boolean,
  ): void {
    const staticName = staticNameIndexOf(name)
    const dynamicName = staticName >= 0 || !useTable ? undefined : this.#newestByName.get(name)
    if (staticName >= 0) {
      this.#body.integer(never ? 0x70 : 0x50, 4, staticName)
    } else if (dynamicName !== undefined && (mayBlock || dynamicName < this.#knownReceivedCount)) {
      this.#refer(dynamicName, references)
      if (dynamicName < base) this.#body.integer(never ? 0x60 : 0x40, 4, base - dynamicName - 1)
      else this.#body.integer(never ? 0x08 : 0x00, 3, dynamicName - base)
    } else {
      this.#body.string(never ? 0x30 : 0x20, 3, name)
    }
    this.#body.string(0x00, 7, value)
  }

  /** RFC 9204 §4.5.1. */
  #writePrefix(required: number, base: number): void {
    if (required === 0) {
      this.#prefix.integer(0, 8, 0)
      this.#prefix.integer(0, 7, 0)
      return
    }
    this.#prefix.integer(0, 8, (required % (2 * this.#table.maxEntries)) + 1)
    if (base >= required) this.#prefix.integer(0x00, 7, base - required)
    else this.#prefix.integer(0x80, 7, required - base - 1)
  }
}
