/** Real UDP sockets as the engine's datagram port: receive batches with GRO splitting, trains out with GSO. */
import { Address, Slot, SLOT_BYTES, scopeId, UdpSocket } from '@quicether/native'
import type { DatagramBatch, DatagramPort, PathTuple, TransmitBatch } from '@quicether/transport'
import { createTransmitBatch, QuicError } from '@quicether/transport'
import { canonicalIp, isUnspecified, writeIp } from './ip-address.ts'
import { nativeCall } from './native-call.ts'
import { remoteWords, TupleTable, UdpTuple } from './tuple-table.ts'

export interface BindOptions {
  /** Address of this machine, `0.0.0.0` or `::`. */
  readonly address: string
  /** 0 = any free port. */
  readonly port: number
  readonly interfaceName?: string
  readonly reuseAddress?: boolean
  /** Answer from the address that was asked, when bound to all addresses. For servers. */
  readonly isPinned?: boolean
  /** Shown as the local address where the kernel chooses it (a client bound to all addresses). */
  readonly shownAddress?: string
  /** Collect ICMP errors for `takeErrors`. For clients. */
  readonly reportErrors?: boolean
  /** Share the address with other sockets of the same user that ask for it, too. */
  readonly reusePort?: boolean
  /** Use a duplicate of this open socket of the process instead of binding one. */
  readonly descriptor?: number
}

/** One bound socket. */
export interface BoundSocket {
  readonly handle: number
  readonly address: string
  readonly port: number
}

/** Counters of one port, since it was opened. */
export interface UdpPortStats {
  readonly datagramsReceived: number
  readonly bytesReceived: number
  readonly datagramsSent: number
  readonly bytesSent: number
  readonly trainsSent: number
  /** Trains that the kernel dropped, e.g. because there is no route. */
  readonly trainsDropped: number
  /** errno of the last dropped train; 0 = none. */
  readonly lastErrno: number
  /** Times the kernel's send queue was full. */
  readonly blocked: number
  /** Whether segmentation offload was given up because device or kernel refused it. */
  readonly offloadFailed: boolean
}

const RX_SLOTS = 8
/** Datagrams in one batch for the engine. */
const BATCH_MAX = 1024
/** The longest UDP payload of IPv4 and IPv6 alike. */
const TRAIN_BYTES_MAX = 65_487
const SOCKETS_MAX = 64
/** What one `adopt` takes. */
export const adoptable = { datagrams: BATCH_MAX, bytes: RX_SLOTS * SLOT_BYTES } as const

interface Socket {
  readonly udp: UdpSocket
  readonly reportsErrors: boolean
  readonly bound: BoundSocket
  readonly tuples: TupleTable
}

/** What one call into the kernel fills, and how the engine sees it. */
interface Reception {
  readonly slab: Uint8Array
  readonly meta: Int32Array
  readonly batch: DatagramBatch
}

/** ENXIO, ENODEV, EINVAL (the source address is gone), EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, EHOSTUNREACH. */
const noWay = new Set([6, 19, 22, 99, 100, 101, 113])

// Half a megabyte that is in use only while datagrams are handed over: all ports of a thread share it.
let reception: Reception | undefined
/** A train nobody holds at the moment, by its largest number of segments. */
const spareTrains: Map<number, TransmitBatch> = new Map()

function sharedReception(): Reception {
  if (reception === undefined) {
    const slab = new Uint8Array(RX_SLOTS * SLOT_BYTES)
    const batch = {
      bytes: slab,
      offsets: new Int32Array(BATCH_MAX),
      lengths: new Int32Array(BATCH_MAX),
      ecns: new Uint8Array(BATCH_MAX),
      tuples: new Array<PathTuple>(BATCH_MAX),
      count: 0,
    }
    reception = { slab, meta: new Int32Array(RX_SLOTS * Slot.Words), batch }
  }
  return reception
}

/**
 * Usage: `bind` sockets, `start` with a callback, and on each call `receive(handle)` while it returns true and at least
 * while `hasLeftover`, taking `batch` each time. The batch is valid until the next `receive` of any port.
 */
export class UdpPort implements DatagramPort {
  readonly #sockets: (Socket | undefined)[] = []
  readonly #segmentsMax: number
  #train: TransmitBatch | undefined
  #socketsOpen = 0
  // Where `receive` stopped splitting when the batch was full, and whose datagrams these are.
  #slotsOf: Socket | undefined
  #slots = 0
  #slot = 0
  #at = 0
  #resumeAt = 0
  #datagramsReceived = 0
  #bytesReceived = 0
  #datagramsSent = 0
  #bytesSent = 0
  #trainsSent = 0
  #trainsDropped = 0
  #lastErrno = 0
  #blocked = 0
  #offloadFailed = false
  /** Told of trains that the kernel has no way for; errno as in `lastErrno`. Called from within `send`. */
  onSendFailed: ((tuple: PathTuple, errno: number) => void) | null = null

  /** @param segmentsMax most datagrams in one train; the kernel's limit holds besides. */
  constructor(segmentsMax = 48) {
    this.#segmentsMax = segmentsMax
  }

  /** What the last `receive` brought. */
  get batch(): DatagramBatch {
    return sharedReception().batch
  }

  /** The one train under construction; `send` takes it. It stays the same object until `releaseTrain`. */
  get train(): TransmitBatch {
    if (this.#train === undefined) {
      this.#train = spareTrains.get(this.#segmentsMax)
      spareTrains.delete(this.#segmentsMax)
      this.#train ??= createTransmitBatch(new Uint8Array(TRAIN_BYTES_MAX), this.#segmentsMax)
    }
    return this.#train
  }

  /** Lets other ports use the memory of `train` until it is asked for again. Not while a train waits to be retried. */
  releaseTrain(): void {
    if (this.#train === undefined) return
    this.#train.tuple = undefined
    spareTrains.set(this.#segmentsMax, this.#train)
    this.#train = undefined
  }

  get stats(): UdpPortStats {
    return {
      datagramsReceived: this.#datagramsReceived,
      bytesReceived: this.#bytesReceived,
      datagramsSent: this.#datagramsSent,
      bytesSent: this.#bytesSent,
      trainsSent: this.#trainsSent,
      trainsDropped: this.#trainsDropped,
      lastErrno: this.#lastErrno,
      blocked: this.#blocked,
      offloadFailed: this.#offloadFailed,
    }
  }

  /** @throws QuicError with the code of the native error, e.g. `ERR_PORT_IN_USE`. */
  bind(options: BindOptions): BoundSocket {
    // Never used twice: a tuple of a closed socket must not send from another one.
    const handle = this.#sockets.length
    if (this.#socketsOpen >= SOCKETS_MAX)
      throw new QuicError('ERR_TOO_MANY_SOCKETS', `an endpoint has at most ${SOCKETS_MAX} sockets`)
    const { isPinned = false, shownAddress, ...socketOptions } = options
    const udp = nativeCall(() => new UdpSocket(socketOptions))
    const bound = { handle, address: canonicalIp(udp.info.address), port: udp.info.port }
    const local = {
      socket: handle,
      address: shownAddress ?? bound.address,
      port: bound.port,
      isPinned: isPinned && isUnspecified(bound.address),
    }
    const reportsErrors = options.reportErrors ?? false
    this.#sockets.push({ udp, reportsErrors, bound, tuples: new TupleTable(local) })
    this.#socketsOpen++
    return bound
  }

  /** The tuple from a bound socket to a remote address, which may have an IPv6 zone. */
  tupleTo(handle: number, remoteAddress: string, remotePort: number): UdpTuple {
    const [ip = '', zone = ''] = remoteAddress.split('%')
    const scope = zone === '' ? 0 : scopeId(zone)
    if (scope === undefined) {
      throw new QuicError(
        'ERR_INTERFACE',
        `${remoteAddress}: no network interface is called '${zone}'; see \`ip link\``,
      )
    }
    return this.#socket(handle).tuples.intern(remoteWords(canonicalIp(ip), remotePort, scope), 0)
  }

  /** Calls back from the event loop when a socket is readable, or takes datagrams again after `send` returned false. */
  start(handle: number, onReady: (handle: number, isWritable: boolean) => void): void {
    const { udp } = this.#socket(handle)
    nativeCall(() => udp.start((isWritable) => onReady(handle, isWritable)))
  }

  /**
   * Fills `batch` from one socket. True = the batch has datagrams; call again, there may be more.
   * A batch never mixes two calls into the kernel.
   */
  receive(handle: number): boolean {
    const socket = this.#sockets[handle]
    if (socket === undefined) return false
    if (this.#slot >= this.#slots) {
      this.#slotsOf = socket
      const { slab, meta } = sharedReception()
      this.#slots = socket.udp.receive(slab, meta)
      this.#slot = 0
      this.#at = 0
    }
    return this.#split(this.#slotsOf ?? socket)
  }

  /**
   * Fills `batch` with datagrams that another port has received for us. `meta` has `Slot.Words` for each of them, offsets
   * into `bytes`. At most `adoptable` of both; what the last `receive` brought must have been taken.
   */
  adopt(handle: number, bytes: Uint8Array, meta: Int32Array): boolean {
    const socket = this.#sockets[handle]
    if (socket === undefined) return false
    const { slab, batch } = sharedReception()
    slab.set(bytes)
    const count = meta.length / Slot.Words
    for (let index = 0; index < count; index++) {
      const words = index * Slot.Words
      batch.offsets[index] = meta[words + Slot.Offset] as number
      batch.lengths[index] = meta[words + Slot.Length] as number
      batch.ecns[index] = meta[words + Slot.Ecn] as number
      batch.tuples[index] = socket.tuples.intern(meta, words + Slot.Address)
    }
    batch.count = count
    return count > 0
  }

  /** Whether the last `receive` left datagrams in our hands; they must be taken before any other port receives. */
  get hasLeftover(): boolean {
    return this.#slot < this.#slots
  }

  /** Whether there are probably more datagrams in our hands or in the kernel's. */
  get hasMore(): boolean {
    return this.hasLeftover || this.#slots === RX_SLOTS
  }

  #split(socket: Socket): boolean {
    const { batch, meta } = sharedReception()
    const { offsets, lengths, ecns, tuples } = batch
    let count = 0
    let bytes = 0
    for (; this.#slot < this.#slots; this.#slot++, this.#at = 0) {
      const words = this.#slot * Slot.Words
      const offset = meta[words + Slot.Offset] as number
      const length = meta[words + Slot.Length] as number
      const stride = Math.max(1, meta[words + Slot.Stride] as number)
      const ecn = meta[words + Slot.Ecn] as number
      const tuple = socket.tuples.intern(meta, words + Slot.Address)
      let at = this.#at
      while (at < length && count < BATCH_MAX) {
        const size = Math.min(stride, length - at)
        offsets[count] = offset + at
        lengths[count] = size
        ecns[count] = ecn
        tuples[count] = tuple
        count++
        bytes += size
        at += size
      }
      if (at < length) {
        this.#at = at
        break
      }
    }
    batch.count = count
    this.#datagramsReceived += count
    this.#bytesReceived += bytes
    return count > 0
  }

  /** False = the kernel's queue is full: offer the same train again when the socket is writable. */
  send(batch: TransmitBatch): boolean {
    const { tuple } = batch
    const socket = tuple === undefined ? undefined : this.#sockets[tuple.socket]
    if (tuple === undefined || socket === undefined) {
      this.#resumeAt = 0
      this.#trainsDropped++
      return true
    }
    const { udp } = socket
    const from = this.#resumeAt
    const length = batch.length - from
    const taken = udp.send(batch.bytes, from, length, batch.segmentSize, batch.ecn, routeOf(tuple))
    if (taken < 0) {
      // RFC 9000 §14.4: a datagram too large for the link is a lost probe; everything else is for loss recovery.
      this.#trainsDropped++
      this.#lastErrno = -taken
      if (noWay.has(-taken)) this.onSendFailed?.(tuple, -taken)
    } else if (taken < length) {
      this.#resumeAt = from + taken
      this.awaitWritable(tuple.socket)
      return false
    } else {
      this.#trainsSent++
      this.#datagramsSent += batch.count
      this.#bytesSent += batch.length
      if (batch.count > 1 && !this.#offloadFailed) this.#offloadFailed = udp.offloadFailed
    }
    this.#resumeAt = 0
    return true
  }

  /** Gives up the train that `send` did not take whole. */
  dropTrain(): void {
    this.#resumeAt = 0
    this.#trainsDropped++
  }

  /** Whether datagrams of a socket are reported; sending goes on in any case. */
  setReadableWanted(handle: number, isWanted: boolean): void {
    this.#sockets[handle]?.udp.setReadableWanted(isWanted)
  }

  /** Number of the system's descriptor of a socket, for `descriptor` of other ports of this process. */
  descriptorOf(handle: number): number {
    const { udp } = this.#socket(handle)
    return nativeCall(() => udp.descriptor)
  }

  /** Lets a program choose among the sockets that share the address of this one; 0, or the errno of the refusal. */
  attachSteering(handle: number, program: Int32Array): number {
    const { udp } = this.#socket(handle)
    return nativeCall(() => udp.attachSteering(program))
  }

  /** Sockets that are open. */
  get socketCount(): number {
    return this.#socketsOpen
  }

  /** Takes all ICMP errors that wait at a socket; `onError` gets the errno of each. Hints, since anybody can send ICMP. */
  takeErrors(handle: number, onError: (errno: number) => void): void {
    const socket = this.#sockets[handle]
    if (socket?.reportsErrors !== true) return
    for (let errno = socket.udp.takeError(); errno !== 0; errno = socket.udp.takeError()) onError(errno)
  }

  /** Asks to be called when the kernel takes datagrams of a socket again. */
  awaitWritable(handle: number): void {
    this.#blocked++
    this.#sockets[handle]?.udp.setWritableWanted(true)
  }

  /** Stops asking for writability, after it was reported. */
  onWritable(handle: number): void {
    this.#sockets[handle]?.udp.setWritableWanted(false)
  }

  /** Closes one socket; trains for it are dropped from now on. */
  unbind(handle: number): void {
    const socket = this.#sockets[handle]
    if (socket === undefined) return
    socket.udp.close()
    this.#sockets[handle] = undefined
    this.#socketsOpen--
  }

  close(): void {
    for (let handle = 0; handle < this.#sockets.length; handle++) this.unbind(handle)
  }

  #socket(handle: number): Socket {
    const socket = this.#sockets[handle]
    if (socket === undefined) throw new QuicError('ERR_CLOSED', `socket ${handle} of this endpoint is closed`)
    return socket
  }
}

function routeOf(tuple: PathTuple): Int32Array {
  if (tuple instanceof UdpTuple) return tuple.route
  const words = remoteWords(tuple.remoteAddress, tuple.remotePort, tuple.interfaceIndex)
  if (!isUnspecified(tuple.localAddress))
    words[Address.LocalFamily] = writeIp(tuple.localAddress, words, Address.LocalIp)
  return words
}
