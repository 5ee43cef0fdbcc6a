/** One packet number space: what was sent and received in it, and the timers of loss detection that belong to it. */
import { AckManager } from '../ack/ack-manager.ts'
import { type Level, Level as Levels } from '../ports/crypto.ts'
import { type Micros, NEVER } from '../ports/datagrams.ts'
import { SentPackets } from './sent-packets.ts'

export class PacketSpace {
  /** Initial, Handshake or OneRtt; 0-RTT packets share the 1-RTT space (RFC 9000 §12.3). */
  readonly level: Level
  readonly pathId: number
  /** Handle of the space at the protection port, which expands packet numbers. */
  readonly handle: number
  // RFC 9000 §17.2.3: 0-RTT and 1-RTT packets share one sequence of numbers: new numbers for any new packet
  readonly sent: SentPackets
  readonly ack: AckManager
  largestAcked = -1
  /** When the oldest packet not yet lost will be, NEVER when none waits (RFC 9002 §6.1.2). */
  lossAtUs: Micros = NEVER
  lastElicitingAtUs: Micros = 0
  /** Probe packets a PTO still wants to send here (RFC 9002 §6.2.4). */
  probesPending = 0
  /** Largest ECN counts the peer has reported for this space. */
  ect0Reported = 0
  ect1Reported = 0
  ceReported = 0
  isDiscarded = false
  /** Next packet number to leave out on purpose, -1 = not chosen yet (RFC 9000 §21.4). */
  skipAt = -1
  /** Packet numbers left out so far. */
  skips = 0
  /** Lowest number that may still be in flight; a hint that spares rescanning. */
  scanFrom = 0
  /** Every packet below has been settled or offered to other paths. */
  requeueFrom = 0
  /** When acknowledgments of lost packets are looked for again. */
  lostScanAtUs: Micros = 0
  /** Lowest packet number sent with the current key phase (RFC 9001 §6.1). */
  phaseFirstSent = 0

  constructor(level: Level, pathId: number, handle: number) {
    this.level = level
    this.pathId = pathId
    this.handle = handle
    this.sent = new SentPackets()
    this.ack = new AckManager(level !== Levels.OneRtt)
  }
}
