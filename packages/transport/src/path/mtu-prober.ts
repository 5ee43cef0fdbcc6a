/** Finds the largest datagram one path carries and notices when it shrinks: DPLPMTUD (RFC 8899, RFC 9000 §14.3). */
import { type Micros, NEVER } from '../ports/datagrams.ts'

/** RFC 9000 §14.3: BASE_PLPMTU and MIN_PLPMTU are QUIC's smallest allowed maximum datagram size. */
export const BASE_MTU_BYTES = 1_200
/** Largest UDP payload: 65,535 less IPv4 and UDP headers. */
export const MTU_BYTES_MAX = 65_507
/** Default ceilings for a 1500-byte Ethernet. */
export const MTU_BYTES_DEFAULT_IPV4 = 1_472
export const MTU_BYTES_DEFAULT_IPV6 = 1_452

/** RFC 8899 §5.1.2: MAX_PROBES. */
const PROBES_MAX = 3
/** RFC 8899 §5.1.1: PMTU_RAISE_TIMER. */
const RAISE_AFTER_US = 600_000_000
/** Pause after a black hole: its cause may be a link in trouble, which would fail any probe. */
const BLACK_HOLE_PAUSE_US = 60_000_000
/** Pause after silence: an outage is more likely than a smaller MTU, so the search is resumed early. */
const SILENCE_PAUSE_US = 5_000_000
/** Separate occasions of loss (or probe timeouts) that make a black hole. */
const BLACK_HOLE_EVENTS = 3
/** The search ends when at most this is left to gain. */
const SEARCH_STEP_BYTES = 16

/** UDP payloads that common links and tunnels leave: tried before sizes in between. */
const LIKELY_SIZES = [1_232, 1_280, 1_332, 1_372, 1_392, 1_412, 1_432, 1_452, 1_472, 8_952, 8_972, 16_332, 32_748]

export type MtuSearchState = 'idle' | 'searching' | 'complete'

/**
 * One probe at a time is outstanding. The owner pads a PING to `nextProbe` bytes, sends it outside the congestion
 * window, never retransmits it, and does not report its loss to congestion control (RFC 9000 §14.4).
 */
export class MtuProber {
  #maximumBytes: number
  #mtuBytes: number
  #state: MtuSearchState
  /** Sizes from here on are known not to pass. */
  #failedBytes: number
  /** Whether the ceiling itself was tried in this search: it is the most likely success, so it goes first. */
  #hasTriedMaximum: boolean
  #candidateBytes: number
  #probesLost: number
  #inFlightBytes: number
  #resumeAtUs: Micros
  #lossEvents: number
  #lastLossUs: Micros
  /** Smallest packet above the base size lost since one of its size last came through. */
  #smallestLostBytes: number
  #hasSmallerPassed: boolean

  /**
   * `maximumBytes`: min(peer's max_udp_payload_size, configured ceiling). Below 1200 it counts as 1200.
   */
  constructor(maximumBytes: number) {
    this.#maximumBytes = clampMaximum(maximumBytes)
    this.#mtuBytes = BASE_MTU_BYTES
    this.#state = 'idle'
    this.#failedBytes = this.#maximumBytes + 1
    this.#hasTriedMaximum = false
    this.#candidateBytes = 0
    this.#probesLost = 0
    this.#inFlightBytes = 0
    this.#resumeAtUs = NEVER
    this.#lossEvents = 0
    this.#lastLossUs = -1
    this.#smallestLostBytes = 0
    this.#hasSmallerPassed = false
  }

  /** Bytes of UDP payload that packets may have now. */
  get mtuBytes(): number {
    return this.#mtuBytes
  }

  get state(): MtuSearchState {
    return this.#state
  }

  /** RFC 9000 §14.3.1: the search may begin once the handshake is complete (new paths: once validated with 1200 bytes). */
  start(): void {
    if (this.#state === 'idle') this.#beginSearch()
  }

  /** The peer's max_udp_payload_size has become known, or the configuration changed. May lower the MTU. */
  setMaximum(maximumBytes: number, nowUs: Micros): void {
    this.#maximumBytes = clampMaximum(maximumBytes)
    this.#mtuBytes = Math.min(this.#mtuBytes, this.#maximumBytes)
    if (this.#state === 'idle') this.#failedBytes = this.#maximumBytes + 1
    else {
      this.#beginSearch()
      if (this.#mtuBytes === this.#maximumBytes) this.#complete(nowUs, RAISE_AFTER_US)
    }
  }

  /** Size of the probe to send now, 0 = none. Asking again before `onProbeSent` gives the same size. */
  // RFC 8899 §3: only probes exceed the MTU; QUIC acknowledges each packet, so its packet number identifies a probe (RFC 8899 §4.1) and its data, padding, needs no retransmission
  // RFC 8899 §8: one probe at a time, settled by ACK or loss: never two within one RTT, and payload is authenticated by the AEAD
  nextProbe(nowUs: Micros): number {
    if (this.#inFlightBytes !== 0) return 0
    this.onTimeout(nowUs)
    if (this.#state !== 'searching') return 0
    if (this.#candidateBytes === 0) this.#candidateBytes = this.#chooseCandidate()
    if (this.#candidateBytes === 0) this.#complete(nowUs, RAISE_AFTER_US)
    return this.#candidateBytes
  }

  /** When `onTimeout` must be called: a pause is over and the search goes on. */
  pollTimeout(): Micros {
    return this.#state === 'complete' ? this.#resumeAtUs : NEVER
  }

  /** Resumes the search when its pause is over, whether or not a probe can be sent now. */
  onTimeout(nowUs: Micros): void {
    if (this.#state === 'complete' && nowUs >= this.#resumeAtUs) this.#beginSearch()
  }

  onProbeSent(sizeBytes: number): void {
    this.#inFlightBytes = sizeBytes
  }

  /** Returns true when the MTU has grown. */
  onProbeAcked(sizeBytes: number, nowUs: Micros): boolean {
    if (sizeBytes === this.#inFlightBytes) this.#inFlightBytes = 0
    this.onPacketAcked(sizeBytes)
    if (sizeBytes <= this.#mtuBytes || sizeBytes > this.#maximumBytes || this.#state === 'idle') return false
    this.#mtuBytes = sizeBytes
    this.#candidateBytes = 0
    this.#probesLost = 0
    // A probe declared lost earlier may come through late: what failed below it did not fail for its size.
    if (this.#failedBytes <= sizeBytes) this.#failedBytes = this.#maximumBytes + 1
    if (sizeBytes === this.#maximumBytes) this.#complete(nowUs, RAISE_AFTER_US)
    return true
  }

  /** RFC 9000 §14.4: "Loss of a QUIC packet that is carried in a PMTU probe is therefore not a reliable indication of congestion" */
  onProbeLost(sizeBytes: number): void {
    if (sizeBytes !== this.#inFlightBytes) return
    this.#inFlightBytes = 0
    if (this.#state !== 'searching' || sizeBytes !== this.#candidateBytes) return
    this.#probesLost += 1
    // RFC 8899 §5.1.2: a size fails after MAX_PROBES unanswered probes.
    if (this.#probesLost < PROBES_MAX) return
    this.#failedBytes = sizeBytes
    this.#candidateBytes = 0
    this.#probesLost = 0
  }

  /** An ordinary packet of this size was acknowledged. */
  onPacketAcked(sizeBytes: number): void {
    if (this.#lossEvents === 0) return
    if (sizeBytes >= this.#smallestLostBytes) this.#forgetLosses()
    else this.#hasSmallerPassed = true
  }

  /** An ordinary packet of this size was lost. Returns true when this reveals a black hole: the MTU is the base again. */
  onPacketLost(sizeBytes: number, nowUs: Micros): boolean {
    if (sizeBytes <= BASE_MTU_BYTES) return false
    if (this.#lossEvents === 0 || sizeBytes < this.#smallestLostBytes) this.#smallestLostBytes = sizeBytes
    // All losses found at one moment are one event: a burst lost to congestion is no sign of a smaller MTU.
    if (this.#lossEvents === 0 || nowUs !== this.#lastLossUs) this.#lossEvents += 1
    this.#lastLossUs = nowUs
    if (this.#lossEvents < BLACK_HOLE_EVENTS || !this.#hasSmallerPassed) return false
    return this.#fallBack(nowUs, BLACK_HOLE_PAUSE_US)
  }

  /**
   * The probe timeout expired `consecutivePtos` times in a row. Without ACKs nothing is declared lost, so a black hole
   * that swallows everything shows only here. Returns true when the MTU has fallen back to the base.
   */
  onPtoExpired(consecutivePtos: number, nowUs: Micros): boolean {
    if (consecutivePtos < BLACK_HOLE_EVENTS || this.#mtuBytes <= BASE_MTU_BYTES) return false
    return this.#fallBack(nowUs, SILENCE_PAUSE_US)
  }

  /** The path leads elsewhere now (RFC 9000 §9.4, §14.3): begins at the base; call `start` when it is validated. */
  reset(): void {
    this.#mtuBytes = BASE_MTU_BYTES
    this.#state = 'idle'
    this.#failedBytes = this.#maximumBytes + 1
    this.#hasTriedMaximum = false
    this.#candidateBytes = 0
    this.#probesLost = 0
    this.#inFlightBytes = 0
    this.#resumeAtUs = NEVER
    this.#forgetLosses()
  }

  #beginSearch(): void {
    this.#state = 'searching'
    this.#failedBytes = this.#maximumBytes + 1
    this.#hasTriedMaximum = false
    this.#candidateBytes = 0
    this.#probesLost = 0
    this.#resumeAtUs = NEVER
  }

  #complete(nowUs: Micros, pauseUs: Micros): void {
    this.#state = 'complete'
    this.#candidateBytes = 0
    this.#probesLost = 0
    // RFC 8899 §5.1.1: PMTU_RAISE_TIMER reenters the search; at the ceiling there is nothing to raise.
    this.#resumeAtUs = this.#mtuBytes < this.#maximumBytes ? nowUs + pauseUs : NEVER
  }

  /** RFC 8899 §4.3: excessive loss of one packet size means the path no longer sustains it. */
  #fallBack(nowUs: Micros, pauseUs: Micros): boolean {
    this.#forgetLosses()
    const hasFallen = this.#mtuBytes > BASE_MTU_BYTES
    this.#mtuBytes = BASE_MTU_BYTES
    if (this.#state !== 'idle') this.#complete(nowUs, pauseUs)
    return hasFallen
  }

  #forgetLosses(): void {
    this.#lossEvents = 0
    this.#lastLossUs = -1
    this.#smallestLostBytes = 0
    this.#hasSmallerPassed = false
  }

  /** RFC 8899 §5.3.2: first the ceiling, then the middle of the likely sizes, then bisection. 0 = nothing left to try. */
  #chooseCandidate(): number {
    const low = this.#mtuBytes
    const high = this.#failedBytes
    if (!this.#hasTriedMaximum) {
      this.#hasTriedMaximum = true
      if (this.#maximumBytes > low) return this.#maximumBytes
    }
    let first = 0
    while (first < LIKELY_SIZES.length && (LIKELY_SIZES[first] ?? 0) <= low) first += 1
    let end = first
    while (end < LIKELY_SIZES.length && (LIKELY_SIZES[end] ?? 0) < high) end += 1
    if (end > first) return LIKELY_SIZES[(first + end) >> 1] ?? 0
    if (high - low <= SEARCH_STEP_BYTES) return 0
    return (low + high) >> 1
  }
}

function clampMaximum(maximumBytes: number): number {
  return Math.max(BASE_MTU_BYTES, Math.min(maximumBytes, MTU_BYTES_MAX))
}
