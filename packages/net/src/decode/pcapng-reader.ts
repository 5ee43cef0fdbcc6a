/** Reads pcapng (draft-ietf-opsawg-pcapng) as its bytes come, one block at a time. */
import { CaptureError } from './capture-error.ts'

/** One captured packet; the bytes are borrowed until the call returns. */
export interface CapturedPacket {
  /** Microseconds since 1970. */
  readonly timeUs: number
  readonly linkType: number
  readonly bytes: Uint8Array
  /** Length on the wire; larger than `bytes` when the capture kept a part only. */
  readonly originalLength: number
  /** Where its block starts in the file. */
  readonly offset: number
}

export interface PcapngSink {
  onPacket(packet: CapturedPacket): void
  /** Text of a Decryption Secrets Block with a TLS key log. */
  onSecrets(keylog: string): void
}

/** Blocks above this are no blocks of a capture of datagrams. */
const BLOCK_BYTES_MAX = 8 * 1024 * 1024
const INTERFACES_MAX = 65_536
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
const SECRETS_TLS_KEYLOG = 0x544c534b
const Block = { SectionHeader: 0x0a0d0d0a, Interface: 1, SimplePacket: 3, EnhancedPacket: 6, Secrets: 10 } as const
const TIME_RESOLUTION_OPTION = 9
const TWO_POW_32 = 0x1_0000_0000
/** First four bytes of classic pcap files, as read little-endian: micro- and nanoseconds, both byte orders. */
const classicPcap: readonly number[] = [0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1]

interface Interface {
  readonly linkType: number
  readonly snapBytes: number
  /** Microseconds per unit of its timestamps. */
  readonly unitUs: number
}

/** Holds one block at most; `push` calls the sink and throws `CaptureError` at the first byte that cannot be. */
export class PcapngReader {
  readonly #sink: PcapngSink
  /** Bytes not consumed yet, in `[#start, #end)`. */
  #buffer: Uint8Array = new Uint8Array(64 * 1024)
  #start = 0
  #end = 0
  /** Offset in the file of `#start`. */
  #offset = 0
  #isLittleEndian = true
  #isStarted = false
  #interfaces: Interface[] = []

  constructor(sink: PcapngSink) {
    this.#sink = sink
  }

  /** Takes the next bytes of the file, however they are cut. */
  push(chunk: Uint8Array): void {
    this.#append(chunk)
    while (this.#takeBlock()) {
      // one block a turn
    }
  }

  /** The file ends here; throws when it does so in the middle of a block. */
  end(): void {
    const left = this.#end - this.#start
    if (!this.#isStarted && left === 0) throw new CaptureError(0, 'the file is empty')
    if (left > 0) {
      const message = `the file ends in the middle of a block, ${left} bytes after its start: it was cut off or is still being written`
      throw new CaptureError(this.#offset, message)
    }
  }

  #append(chunk: Uint8Array): void {
    const needed = this.#end - this.#start + chunk.length
    if (this.#end + chunk.length > this.#buffer.length) {
      const target = needed > this.#buffer.length ? new Uint8Array(2 ** Math.ceil(Math.log2(needed))) : this.#buffer
      target.set(this.#buffer.subarray(this.#start, this.#end))
      this.#buffer = target
      this.#end -= this.#start
      this.#start = 0
    }
    this.#buffer.set(chunk, this.#end)
    this.#end += chunk.length
  }

  #takeBlock(): boolean {
    const available = this.#end - this.#start
    if (available < 12) return false
    const view = new DataView(this.#buffer.buffer, this.#start, available)
    if (view.getUint32(0) === Block.SectionHeader) this.#setByteOrder(view)
    else if (!this.#isStarted) this.#refuse(view)
    const type = view.getUint32(0, this.#isLittleEndian)
    const length = view.getUint32(4, this.#isLittleEndian)
    if (length < 12 || length % 4 !== 0) this.#fail(`a block of ${length} bytes: lengths are multiples of 4 from 12 on`)
    if (length > BLOCK_BYTES_MAX) this.#fail(`a block of ${length} bytes; more than ${BLOCK_BYTES_MAX} are not read`)
    if (available < length) return false
    if (view.getUint32(length - 4, this.#isLittleEndian) !== length) {
      this.#fail('the two lengths of a block differ: the file is damaged here')
    }
    this.#onBlock(type, new DataView(view.buffer, view.byteOffset + 8, length - 12))
    this.#start += length
    this.#offset += length
    return true
  }

  #setByteOrder(view: DataView): void {
    if (view.getUint32(8, true) === BYTE_ORDER_MAGIC) this.#isLittleEndian = true
    else if (view.getUint32(8, false) === BYTE_ORDER_MAGIC) this.#isLittleEndian = false
    else this.#fail('a section header without its byte-order mark: this is no pcapng file')
    this.#isStarted = true
    this.#interfaces = []
  }

  #refuse(view: DataView): never {
    if (classicPcap.includes(view.getUint32(0, true))) {
      this.#fail('this is a classic pcap file; convert it with `editcap -F pcapng IN OUT`')
    }
    this.#fail('this is no pcapng file')
  }

  #onBlock(type: number, body: DataView): void {
    if (type === Block.Interface) this.#onInterface(body)
    else if (type === Block.EnhancedPacket) this.#onEnhancedPacket(body)
    else if (type === Block.SimplePacket) this.#onSimplePacket(body)
    else if (type === Block.Secrets) this.#onSecrets(body)
    // draft-ietf-opsawg-pcapng §3.1: readers skip blocks that they do not know
  }

  #onInterface(body: DataView): void {
    if (body.byteLength < 8) this.#fail('an interface description of less than 8 bytes')
    if (this.#interfaces.length >= INTERFACES_MAX) this.#fail(`more than ${INTERFACES_MAX} interfaces`)
    const linkType = body.getUint16(0, this.#isLittleEndian)
    this.#interfaces.push({
      linkType,
      snapBytes: body.getUint32(4, this.#isLittleEndian),
      unitUs: this.#timeUnitUs(body),
    })
  }

  /** if_tsresol: 10^-n s, or 2^-n s when the high bit is set; microseconds without it. */
  #timeUnitUs(body: DataView): number {
    for (let at = 8; at + 4 <= body.byteLength; ) {
      const code = body.getUint16(at, this.#isLittleEndian)
      const length = body.getUint16(at + 2, this.#isLittleEndian)
      if (code === 0 || at + 4 + length > body.byteLength) break
      if (code === TIME_RESOLUTION_OPTION && length >= 1) {
        const value = body.getUint8(at + 4)
        return 1_000_000 / ((value & 0x80) === 0 ? 10 ** value : 2 ** (value & 0x7f))
      }
      at += 4 + ((length + 3) & ~3)
    }
    return 1
  }

  #onEnhancedPacket(body: DataView): void {
    if (body.byteLength < 20) this.#fail('a packet block of less than 20 bytes')
    const described = this.#interfaces[body.getUint32(0, this.#isLittleEndian)]
    if (described === undefined) {
      this.#fail(`a packet of interface ${body.getUint32(0, this.#isLittleEndian)}, which was not described`)
    }
    const units = body.getUint32(4, this.#isLittleEndian) * TWO_POW_32 + body.getUint32(8, this.#isLittleEndian)
    const captured = body.getUint32(12, this.#isLittleEndian)
    if (captured > body.byteLength - 20) this.#fail(`a packet of ${captured} bytes in a block that has room for less`)
    const originalLength = body.getUint32(16, this.#isLittleEndian)
    this.#packet(
      described,
      units * described.unitUs,
      new Uint8Array(body.buffer, body.byteOffset + 20, captured),
      originalLength,
    )
  }

  #onSimplePacket(body: DataView): void {
    const described = this.#interfaces[0]
    if (described === undefined) this.#fail('a packet before any interface was described')
    if (body.byteLength < 4) this.#fail('a packet block of less than 4 bytes')
    const originalLength = body.getUint32(0, this.#isLittleEndian)
    const limit = described.snapBytes === 0 ? originalLength : described.snapBytes
    const captured = Math.min(originalLength, limit, body.byteLength - 4)
    this.#packet(described, 0, new Uint8Array(body.buffer, body.byteOffset + 4, captured), originalLength)
  }

  #packet({ linkType }: Interface, timeUs: number, bytes: Uint8Array, originalLength: number): void {
    this.#sink.onPacket({ timeUs, linkType, bytes, originalLength, offset: this.#offset })
  }

  #onSecrets(body: DataView): void {
    if (body.byteLength < 8) this.#fail('a secrets block of less than 8 bytes')
    const length = body.getUint32(4, this.#isLittleEndian)
    if (length > body.byteLength - 8) this.#fail(`${length} bytes of secrets in a block that has room for less`)
    if (body.getUint32(0, this.#isLittleEndian) !== SECRETS_TLS_KEYLOG) return
    this.#sink.onSecrets(Buffer.from(body.buffer, body.byteOffset + 8, length).toString('latin1'))
  }

  #fail(message: string): never {
    throw new CaptureError(this.#offset, message)
  }
}
