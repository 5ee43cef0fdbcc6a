/** One path: addresses, validation and anti-amplification credit, RTT, congestion, pacing, MTU, ECN, packet numbers. */
import type { CidRegistry } from '../cid/cid-registry.ts'
import type { TransportConfig } from '../config.ts'
import { type CongestionContext, createCongestionController } from '../congestion/algorithms.ts'
import { isModelController } from '../congestion/controller.ts'
import type { PathId } from '../events.ts'
import { Level } from '../ports/crypto.ts'
import { type Micros, NEVER, type PathTuple } from '../ports/datagrams.ts'
import { Pacer } from '../recovery/pacer.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'
import { type ReceiptSink, Recovery, type RecoveryContext } from '../recovery/recovery.ts'
import { RttEstimator } from '../recovery/rtt.ts'
import { PathLane } from '../schedule/path-lane.ts'
import { EcnValidator } from './ecn-validator.ts'
import { BASE_MTU_BYTES, MtuProber } from './mtu-prober.ts'

// RFC 9000 §8: "an endpoint MUST limit the amount of data it sends to the unvalidated address to three times the amount of data received from that address"
export const AMPLIFICATION_FACTOR = 3

/** Credit below which no useful packet fits (long header, number, tag): waiting for it must not keep a timer busy. */
const SENDABLE_BYTES_MIN = 128

export class Path {
  readonly id: PathId
  tuple: PathTuple
  isValidated = false
  receivedBytes = 0
  sentBytes = 0
  packetsSent = 0
  packetsReceived = 0
  /** Payload bytes of UDP sent, and bytes of packets received and read; never reset. */
  bytesSent = 0
  bytesReceived = 0
  readonly recovery: Recovery
  readonly mtu: MtuProber
  readonly pacer: Pacer
  readonly ecn: EcnValidator
  readonly cids: CidRegistry
  /** The 1-RTT packet number space of this path. */
  readonly space: PacketSpace
  /** What packet schedulers see of this path. */
  readonly lane: PathLane
  /** Largest number received: only newer non-probing packets move the path (RFC 9000 §9.3). */
  largestNonProbing = -1
  /** Marked packets the current ACK frame newly acknowledged. */
  newlyAckedEct0 = 0
  /** How we want the peer to use it, and what it told us; undefined = nothing (RFC 10069 §3.3). */
  status: 'available' | 'backup' = 'available'
  statusSequence = 0
  /** What the peer is told instead of `status` while a backup path has taken over. */
  toldStatus: 'available' | 'backup' | undefined = undefined
  peerStatus: 'available' | 'backup' | undefined = undefined
  peerStatusSequence = -1
  /** Made for a packet that is not known to be the peer's yet: nothing is sent, nothing is told. */
  isDormant = false
  /** Sequence of our CID on the last non-probing packet; a change tells of a deliberate migration. */
  lastDcidSequence = 0
  /** A PATH_ABANDON was sent: nothing may be sent here any more. */
  isAbandoned = false
  /**
   * Client: the server's address is only a claim until the path is validated; until then nothing but probes goes there.
   */
  isRemoteUnproven = false
  /** When an abandoned path is forgotten. */
  deleteAtUs: Micros = NEVER
  readonly #isPaced: boolean

  constructor(
    id: PathId,
    tuple: PathTuple,
    space: PacketSpace,
    cids: CidRegistry,
    config: TransportConfig,
    context: RecoveryContext & CongestionContext,
    sink: ReceiptSink,
  ) {
    this.id = id
    this.tuple = tuple
    this.space = space
    this.cids = cids
    this.lane = new PathLane(id)
    const rtt = new RttEstimator()
    const { congestion: algorithm, initialWindowPackets } = config
    const congestion = createCongestionController(algorithm, BASE_MTU_BYTES, initialWindowPackets, this, context)
    this.recovery = new Recovery(rtt, congestion, context, sink)
    this.mtu = new MtuProber(config.mtuBytesMax)
    this.pacer = new Pacer(BASE_MTU_BYTES, isModelController(congestion))
    this.ecn = new EcnValidator(config.isEcnEnabled)
    this.#isPaced = config.isPaced
  }

  /** Ready for application data: validated, open, and with a connection ID to send to. */
  isUsable(): boolean {
    return this.isValidated && !this.isAbandoned && this.isAddressable()
  }

  /**
   * Whether there is a connection ID to send to: a further path may be opened by a packet that overtook it, and the peer
   * may withdraw the last one. The path rests until there is one.
   */
  isAddressable(): boolean {
    return this.cids.active !== undefined
  }

  /** Whether packets other than probes may go there at all. */
  mayTransmit(): boolean {
    return this.isAddressable() && (this.isValidated || !this.isRemoteUnproven)
  }

  /** Nothing has come back for a probe timeout: others go first until something does. */
  isSuspect(): boolean {
    return this.recovery.ptoCount >= 1
  }

  get rtt(): RttEstimator {
    return this.recovery.rtt
  }

  /** Bytes that the anti-amplification limit still allows; Infinity once the address is validated. */
  get amplificationCredit(): number {
    return this.isValidated ? Infinity : AMPLIFICATION_FACTOR * this.receivedBytes - this.sentBytes
  }

  /** Nothing useful can be sent before the peer sends more. */
  isAmplificationBlocked(): boolean {
    return this.amplificationCredit < SENDABLE_BYTES_MIN
  }

  /** Bytes of ack-eliciting packets that congestion control and pacing allow now. */
  sendBudget(nowUs: Micros): number {
    const { congestion, inFlightBytes } = this.recovery
    const { mtuBytes } = this.mtu
    // RFC 9002 §7: "An endpoint MUST NOT send a packet if it would cause bytes_in_flight … to be larger than the congestion window": room for whole datagrams only
    const window = Math.floor((congestion.windowBytes - inFlightBytes) / mtuBytes) * mtuBytes
    if (window <= 0 || !this.#isPaced) return Math.max(0, window)
    return Math.min(window, this.pacer.budgetBytes(nowUs, congestion.pacingRate(this.rtt), congestion.windowBytes))
  }

  /** When pacing allows the next packet; `nowUs` or earlier if it does already, NEVER when the window is the limit. */
  nextSendUs(nowUs: Micros): Micros {
    const { congestion, inFlightBytes } = this.recovery
    if (!this.#isPaced || congestion.windowBytes - inFlightBytes < this.mtu.mtuBytes) return NEVER
    return this.pacer.nextSendUs(nowUs, congestion.pacingRate(this.rtt), congestion.windowBytes)
  }

  /** PTO of this path's 1-RTT space without backoff. */
  ptoUs(maxAckDelayUs: Micros): Micros {
    return this.recovery.rtt.ptoUs(maxAckDelayUs)
  }

  /** ECN validators count Initial, Handshake and application data apart. */
  ecnSpace(level: Level): number {
    return level === Level.Initial ? 0 : level === Level.Handshake ? 1 : 2
  }

  onMtuChanged(): void {
    this.recovery.congestion.onMtuChanged(this.mtu.mtuBytes)
    this.pacer.onMtuChanged(this.mtu.mtuBytes)
  }

  // RFC 9000 §9.4: "an endpoint MUST immediately reset the congestion controller and round-trip time estimator for the new path to initial values … unless the only change in the peer's address is its port number"
  /** Leads the path over other addresses. `keepState` when only the peer's port changed. */
  moveTo(tuple: PathTuple, isValidated: boolean, keepState: boolean, nowUs: Micros): void {
    this.tuple = tuple
    this.isValidated = isValidated
    if (keepState) return
    this.recovery.onPathChanged(nowUs)
    this.mtu.reset()
    this.recovery.congestion.reset(BASE_MTU_BYTES)
    this.pacer.reset(BASE_MTU_BYTES)
    this.ecn.reset()
  }
}
