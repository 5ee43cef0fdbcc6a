/** Hands datagrams to the thread that has their connection, bounded and counted, and takes what others hand over. */
import type { MessagePort } from 'node:worker_threads'
import { Address, Slot } from '@quicether/native'
import type { DatagramBatch } from '@quicether/transport'
import { UdpTuple } from '../tuple-table.ts'
import { adoptable } from '../udp-port.ts'
import type { LaneName, RelayStats } from './messages.ts'

/** Bytes under way to one thread; what comes beyond is dropped, as a full socket buffer would. */
export const INBOX_BYTES_MAX: number = 4 << 20
/** One message: enough for the longest datagram. */
const PARCEL_BYTES = 128 << 10
const PARCEL_DATAGRAMS = 256

/** Datagrams for one socket, laid out for `UdpPort.adopt`. */
interface Parcel {
  readonly handle: number
  readonly bytes: Uint8Array
  readonly meta: Int32Array
}

/** Another thread, and what is gathered for it until the present batch is done. */
class Lane {
  readonly port: MessagePort
  readonly inbox: number
  bytes: Uint8Array = new Uint8Array(0)
  length = 0
  meta: Int32Array = new Int32Array(0)
  count = 0
  handle = 0

  constructor(port: MessagePort, inbox: number) {
    this.port = port
    this.inbox = inbox
  }

  fits(handle: number, bytes: number): boolean {
    return (
      this.count === 0 ||
      (this.handle === handle && this.count < PARCEL_DATAGRAMS && this.length + bytes <= PARCEL_BYTES)
    )
  }

  put(batch: DatagramBatch, index: number, tuple: UdpTuple): void {
    const offset = batch.offsets[index] as number
    const length = batch.lengths[index] as number
    if (this.bytes.length === 0) {
      this.bytes = new Uint8Array(PARCEL_BYTES)
      this.meta = new Int32Array(PARCEL_DATAGRAMS * Slot.Words)
    }
    this.bytes.set(batch.bytes.subarray(offset, offset + length), this.length)
    const words = this.count * Slot.Words
    this.meta[words + Slot.Offset] = this.length
    this.meta[words + Slot.Length] = length
    this.meta[words + Slot.Stride] = length
    this.meta[words + Slot.Ecn] = batch.ecns[index] as number
    this.meta.set(tuple.route, words + Slot.Address)
    this.handle = tuple.socket
    this.length += length
    this.count++
  }

  take(): Parcel {
    const { handle } = this
    const parcel = {
      handle,
      bytes: this.bytes.slice(0, this.length),
      meta: this.meta.slice(0, this.count * Slot.Words),
    }
    this.length = 0
    this.count = 0
    return parcel
  }
}

/** One per worker thread. */
export class Relay {
  readonly #inboxes: Int32Array
  readonly #inbox: number
  readonly #lanes: Map<LaneName, Lane> = new Map()
  readonly #waiting: Set<Lane> = new Set()
  #isFlushPlanned = false
  #forwarded = 0
  #adopted = 0
  #forwardsDropped = 0
  /** Takes what other threads hand over; until it is set, that is dropped. */
  onParcel: ((handle: number, bytes: Uint8Array, meta: Int32Array) => void) | undefined

  /** @param inbox the place in `inboxes` where bytes under way to this thread are counted. */
  constructor(inboxes: SharedArrayBuffer, inbox: number) {
    this.#inboxes = new Int32Array(inboxes)
    this.#inbox = inbox
    Atomics.store(this.#inboxes, inbox, 0)
  }

  get stats(): RelayStats {
    return { forwarded: this.#forwarded, adopted: this.#adopted, forwardsDropped: this.#forwardsDropped }
  }

  hasLane(name: LaneName): boolean {
    return this.#lanes.has(name)
  }

  /** Opens the way to (and from) another thread, in place of an earlier one of that name. */
  open(name: LaneName, port: MessagePort, inbox: number): void {
    this.close(name)
    const lane = new Lane(port, inbox)
    this.#lanes.set(name, lane)
    port.on('message', this.#onMessage)
    // A thread that ended: nothing would take what is put there.
    port.on('close', () => {
      if (this.#lanes.get(name) === lane) this.#lanes.delete(name)
    })
    port.unref()
  }

  close(name: LaneName): void {
    const lane = this.#lanes.get(name)
    this.#lanes.delete(name)
    lane?.port.close()
  }

  /** Takes one datagram of the batch for another thread. It is copied; it goes once the present batch is done. */
  forward(name: LaneName, batch: DatagramBatch, index: number): void {
    const lane = this.#lanes.get(name)
    const tuple = batch.tuples[index]
    if (lane === undefined || !(tuple instanceof UdpTuple) || tuple.route.length !== Address.Words) {
      this.#forwardsDropped++
      return
    }
    if (!lane.fits(tuple.socket, batch.lengths[index] as number)) this.#post(lane)
    lane.put(batch, index, tuple)
    this.#waiting.add(lane)
    if (this.#isFlushPlanned) return
    this.#isFlushPlanned = true
    queueMicrotask(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushPlanned = false
    for (const lane of this.#waiting) this.#post(lane)
    this.#waiting.clear()
  }

  #post(lane: Lane): void {
    const { count } = lane
    const parcel = lane.take()
    const size = parcel.bytes.length
    if (Atomics.load(this.#inboxes, lane.inbox) + size > INBOX_BYTES_MAX) {
      this.#forwardsDropped += count
      return
    }
    Atomics.add(this.#inboxes, lane.inbox, size)
    this.#forwarded += count
    lane.port.postMessage(parcel, [parcel.bytes.buffer as ArrayBuffer, parcel.meta.buffer as ArrayBuffer])
  }

  readonly #onMessage = ({ handle, bytes, meta }: Parcel): void => {
    Atomics.sub(this.#inboxes, this.#inbox, bytes.length)
    this.#adopted += meta.length / Slot.Words
    if (bytes.length <= adoptable.bytes && meta.length / Slot.Words <= adoptable.datagrams)
      this.onParcel?.(handle, bytes, meta)
  }
}
