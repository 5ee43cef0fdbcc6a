/** Writes what a driver sends and receives as a pcapng file that Wireshark opens decrypted; needs no privileges. */
import type { Micros, PathTuple } from '@quicether/transport'
import { BoundedFile } from './bounded-file.ts'
import { createHeaderTemplate, type HeaderTemplate, writeHeaders } from './ip-header.ts'
import { normalizeKeylogLine } from './keylog-file.ts'
import {
  Direction,
  interfaceBlock,
  PACKET_HEADER_BYTES,
  packetBlockLength,
  secretsBlock,
  sectionHeaderBlock,
  statisticsBlock,
  writePacketBlock,
} from './pcapng-blocks.ts'
import type { DatagramDirection, DatagramTap } from './tap.ts'

export interface PcapngOptions {
  readonly path: string
  /** What added to a driver's `nowUs` gives microseconds since 1970. */
  readonly epochOffsetUs: number
  /** Who captured, e.g. `QuicEther 0.1.0 router`. */
  readonly application?: string
  readonly comment?: string
  /** Keep at most this many bytes of each UDP payload. Decryption needs whole packets. */
  readonly snapBytes?: number
  /** Most memory waiting for the disk; packets beyond it are counted and left out. */
  readonly bufferBytesMax?: number
  /** Name of a kernel interface index, e.g. `eth0`; undefined when unknown. */
  readonly interfaceName?: (index: number) => string | undefined
  readonly onWarning?: (message: string) => void
}

export const pcapngDefaults = { application: 'QuicEther', bufferBytesMax: 32 * 1024 * 1024, snapBytes: 65_535 } as const

/** Packets are held here for the rest of the event-loop turn, so that secrets they bring about precede them. */
const STAGE_BYTES = 1024 * 1024
/** Enough for some 5,000 handshakes in one turn of the event loop. */
const PENDING_SECRETS_MAX_CHARS = 4 * 1024 * 1024
/** Further interfaces are recorded under the first one. */
const INTERFACES_MAX = 64

interface Interface {
  readonly id: number
  packets: number
}

/**
 * The file is written in the order tools need: a packet that completes a handshake step is decrypted in place only after
 * we have seen it, and TLS reports the secrets for it later still, so packets wait in a stage until the loop turn ends
 * and the secrets of that turn are written first.
 */
export class PcapngWriter implements DatagramTap {
  /** Packets left out because the disk was slower than the network, or had failed. */
  packetsDropped = 0
  packetsWritten = 0
  readonly #file: BoundedFile
  readonly #epochOffsetUs: number
  readonly #snapBytes: number
  readonly #bufferBytesMax: number
  readonly #interfaceName: (index: number) => string | undefined
  readonly #stage = Buffer.allocUnsafeSlow(STAGE_BYTES)
  readonly #sent = new WeakMap<PathTuple, HeaderTemplate>()
  readonly #received = new WeakMap<PathTuple, HeaderTemplate>()
  readonly #interfaces = new Map<number, Interface>()
  #stageUsed = 0
  #secrets = ''
  #isFlushPlanned = false
  #isClosed = false
  #droppedSince = 0
  #lastEpochUs: number
  #id = 0

  /** Throws when the file cannot be opened. */
  constructor(options: PcapngOptions) {
    this.#epochOffsetUs = options.epochOffsetUs
    this.#lastEpochUs = Math.max(0, Math.floor(options.epochOffsetUs))
    this.#snapBytes = Math.max(1, options.snapBytes ?? pcapngDefaults.snapBytes)
    this.#bufferBytesMax = Math.max(2 * STAGE_BYTES, options.bufferBytesMax ?? pcapngDefaults.bufferBytesMax)
    this.#interfaceName = options.interfaceName ?? (() => undefined)
    this.#file = new BoundedFile({
      path: options.path,
      what: 'capture',
      mode: 0o600,
      // Secrets are small and worth more than packets: they may go over the limit that stops packets.
      bufferBytesMax: this.#bufferBytesMax + PENDING_SECRETS_MAX_CHARS,
      onExit: () => this.#flushStage(),
      ...(options.onWarning === undefined ? {} : { onWarning: options.onWarning }),
    })
    const { application = pcapngDefaults.application, comment } = options
    this.#file.append(sectionHeaderBlock(comment === undefined ? { application } : { application, comment }))
  }

  get path(): string {
    return this.#file.path
  }

  datagram(
    direction: DatagramDirection,
    tuple: PathTuple,
    bytes: Uint8Array,
    offset: number,
    length: number,
    ecn: number,
    nowUs: Micros,
  ): void {
    if (this.#isClosed) return
    const template = this.#template(tuple, direction)
    const headersLength = template.bytes.length
    const capturedPayload = Math.min(length, this.#snapBytes)
    const captured = headersLength + capturedPayload
    const blockLength = packetBlockLength(captured, this.#droppedSince > 0)
    if (!this.#hasRoom(blockLength)) {
      this.packetsDropped++
      this.#droppedSince++
      return
    }
    const described = this.#interface(tuple.interfaceIndex)
    if (this.#stageUsed + blockLength > STAGE_BYTES) this.#flushStage()
    const at = this.#stageUsed
    const packetAt = at + PACKET_HEADER_BYTES
    this.#stage.set(bytes.subarray(offset, offset + capturedPayload), packetAt + headersLength)
    writeHeaders(template, this.#stage, packetAt, {
      payloadLength: length,
      capturedLength: capturedPayload,
      ecn,
      id: this.#id++,
    })
    this.#lastEpochUs = Math.max(0, Math.floor(nowUs + this.#epochOffsetUs))
    writePacketBlock(this.#stage, at, {
      interfaceId: described.id,
      epochUs: this.#lastEpochUs,
      capturedLength: captured,
      originalLength: headersLength + length,
      direction: direction === 'sent' ? Direction.Outbound : Direction.Inbound,
      dropCount: this.#droppedSince,
    })
    this.#stageUsed += blockLength
    this.#droppedSince = 0
    this.packetsWritten++
    described.packets++
    this.#planFlush()
  }

  keylogLine(line: string): void {
    const trimmed = normalizeKeylogLine(line)
    if (this.#isClosed || trimmed === undefined) return
    if (this.#secrets.length + trimmed.length > PENDING_SECRETS_MAX_CHARS) return
    this.#secrets += `${trimmed}\n`
    this.#planFlush()
  }

  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#flushStage()
      this.#isClosed = true
      this.#writeStatistics()
    }
    await this.#file.close()
  }

  #hasRoom(blockLength: number): boolean {
    return !this.#file.isFailed && this.#file.bufferedBytes + this.#stageUsed + blockLength <= this.#bufferBytesMax
  }

  #template(tuple: PathTuple, direction: DatagramDirection): HeaderTemplate {
    const templates = direction === 'sent' ? this.#sent : this.#received
    let template = templates.get(tuple)
    if (template === undefined) {
      template = createHeaderTemplate(tuple, direction)
      templates.set(tuple, template)
    }
    return template
  }

  /** The interface's entry; its first packet brings its description into the file. */
  #interface(index: number): Interface {
    const known = this.#interfaces.get(index)
    if (known !== undefined) return known
    const first = this.#interfaces.values().next().value
    if (first !== undefined && this.#interfaces.size >= INTERFACES_MAX) return first
    const name = this.#interfaceName(index) ?? (index === 0 ? 'quicether' : `interface-${index}`)
    const description = interfaceBlock({ name, snapBytes: 0 })
    if (this.#stageUsed + description.length > STAGE_BYTES) this.#flushStage()
    this.#stage.set(description, this.#stageUsed)
    this.#stageUsed += description.length
    const added = { id: this.#interfaces.size, packets: 0 }
    this.#interfaces.set(index, added)
    return added
  }

  #planFlush(): void {
    if (this.#isFlushPlanned) return
    this.#isFlushPlanned = true
    setImmediate(() => {
      this.#isFlushPlanned = false
      this.#flushStage()
    })
  }

  /** Secrets first, then the packets that need them. */
  #flushStage(): void {
    if (this.#secrets !== '') {
      this.#file.append(secretsBlock(this.#secrets))
      this.#secrets = ''
    }
    if (this.#stageUsed === 0) return
    this.#file.append(this.#stage.subarray(0, this.#stageUsed))
    this.#stageUsed = 0
  }

  #writeStatistics(): void {
    let packetsDropped = this.packetsDropped
    for (const { id, packets } of this.#interfaces.values()) {
      const epochUs = this.#lastEpochUs
      this.#file.append(
        statisticsBlock({ interfaceId: id, epochUs, packetsReceived: packets + packetsDropped, packetsDropped }),
      )
      // Drops are counted per capture; the first interface carries them.
      packetsDropped = 0
    }
  }
}
