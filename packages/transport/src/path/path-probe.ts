/** Validation of one address tuple (RFC 9000 §8.2): challenges out, responses due, amplification credit. */
import type { PeerCid } from '../cid/cid-registry.ts'
import { type Micros, NEVER, type PathTuple } from '../ports/datagrams.ts'
import { INITIAL_RTT_US } from '../recovery/rtt.ts'
import { AMPLIFICATION_FACTOR, type Path } from './path.ts'

/** PTO of a path without samples: kInitialRtt + 4 * kInitialRtt / 2 (RFC 9002 §6.2.2). */
const NEW_PATH_PTO_US = 3 * INITIAL_RTT_US
/** Challenges of ours that an answer may still match. */
const OUTSTANDING_MAX = 4
/** PATH_RESPONSE frames owed on one tuple; a peer that sends more challenges gets no more answers. */
export const RESPONSES_MAX = 4

/** What becomes of the path once the tuple is validated. */
export type ProbePurpose = 'active' | 'migrate' | 'fallback' | 'answer'

export class PathProbe {
  /** Path that the tuple belongs or may come to belong to. */
  readonly path: Path
  readonly tuple: PathTuple
  purpose: ProbePurpose
  /** CID of the peer used on this tuple; undefined = the active one of the path. */
  cid: PeerCid | undefined
  /** The peer came here with another CID than it uses on the path: one of its own is needed to answer (RFC 9000 §9.5). */
  isApart = false
  /** Of a fallback: the sequence of our CID that the peer used there. */
  heard = -1
  isValidated = false
  /** The address is validated; what runs asks whether datagrams of 1200 bytes arrive. */
  isForMtu = false
  receivedBytes = 0
  sentBytes = 0
  /** A PATH_CHALLENGE waits to be sent. */
  challengePending = false
  /** When validation is given up, NEVER while none runs. */
  deadlineUs: Micros = NEVER
  /** When the challenge is repeated. */
  repeatAtUs: Micros = NEVER
  /** Retransmission interval; doubles. */
  intervalUs: Micros = 0
  readonly responses: Uint8Array[] = []
  readonly #outstanding: Uint8Array[] = []
  /** When each of them was sent. */
  readonly #sentAtUs: WeakMap<Uint8Array, Micros> = new WeakMap()
  /** Outstanding challenges that went out in datagrams below 1200 bytes: their answer says nothing about the MTU. */
  readonly #small: Set<Uint8Array> = new Set()

  constructor(path: Path, tuple: PathTuple, purpose: ProbePurpose) {
    this.path = path
    this.tuple = tuple
    this.purpose = purpose
  }

  // RFC 9000 §8.2.4: "Endpoints SHOULD abandon path validation based on a timer … three times the larger of the current PTO or the PTO for the new path"
  start(ptoUs: Micros, nowUs: Micros): void {
    this.isValidated = false
    this.isForMtu = false
    this.challengePending = true
    this.intervalUs = ptoUs
    this.deadlineUs = nowUs + 3 * Math.max(ptoUs, NEW_PATH_PTO_US)
    this.repeatAtUs = NEVER
  }

  isValidating(): boolean {
    return this.deadlineUs !== NEVER
  }

  stop(): void {
    this.challengePending = false
    this.deadlineUs = NEVER
    this.repeatAtUs = NEVER
  }

  // RFC 9000 §8.2.1: "The endpoint MUST use unpredictable data in every PATH_CHALLENGE frame"
  onChallengeSent(data: Uint8Array, isFullSized: boolean, nowUs: Micros): void {
    this.challengePending = false
    this.#outstanding.push(data)
    this.#sentAtUs.set(data, nowUs)
    if (!isFullSized) this.#small.add(data)
    if (this.#outstanding.length > OUTSTANDING_MAX) this.#small.delete(this.#outstanding.shift() as Uint8Array)
    this.repeatAtUs = nowUs + this.intervalUs
    this.intervalUs *= 2
  }

  #find(bytes: Uint8Array, start: number): Uint8Array | undefined {
    return this.#outstanding.find((data) => data.every((byte, i) => byte === bytes[start + i]))
  }

  /** Whether a PATH_RESPONSE answers one of our challenges here. */
  matches(bytes: Uint8Array, start: number): boolean {
    return this.#find(bytes, start) !== undefined
  }

  /** Time since the challenge that a PATH_RESPONSE answers; NEVER when it answers none. */
  delayUs(bytes: Uint8Array, start: number, nowUs: Micros): Micros {
    const data = this.#find(bytes, start)
    return data === undefined ? NEVER : nowUs - (this.#sentAtUs.get(data) ?? -NEVER)
  }

  /** Whether the challenge answered travelled in a datagram of at least 1200 bytes. */
  provesMtu(bytes: Uint8Array, start: number): boolean {
    const data = this.#find(bytes, start)
    return data !== undefined && !this.#small.has(data)
  }

  onChallenge(data: Uint8Array): void {
    if (this.responses.length < RESPONSES_MAX) this.responses.push(data)
  }

  hasSomethingToSend(): boolean {
    return this.challengePending || this.responses.length > 0
  }

  get amplificationCredit(): number {
    return this.isValidated ? Infinity : AMPLIFICATION_FACTOR * this.receivedBytes - this.sentBytes
  }

  nextTimeoutUs(): Micros {
    return Math.min(this.deadlineUs, this.repeatAtUs)
  }
}
