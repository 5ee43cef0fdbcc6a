/** The rest of a train that carries new data of streams and nothing else: packets without all the questions of the first. */
import { packetNumberLength, TAG_LENGTH, writePacketNumber, writeShortHeader } from '@quicether/wire'
import type { AckRouter } from '../ack/ack-router.ts'
import { type ConnectionCore, EMPTY } from '../core.ts'
import type { Path } from '../path/path.ts'
import { Level } from '../ports/crypto.ts'
import { Ecn, type Micros, type TransmitBatch } from '../ports/datagrams.ts'
import { SentFlag } from '../recovery/sent-packets.ts'
import { hasControl } from './frame-writers.ts'
import type { TrainBuilder } from './train-builder.ts'

export class BulkRun {
  readonly #core: ConnectionCore
  readonly #train: TrainBuilder
  readonly #acks: AckRouter

  constructor(core: ConnectionCore, train: TrainBuilder, acks: AckRouter) {
    this.#core = core
    this.#train = train
    this.#acks = acks
  }

  /**
   * Appends packets as long as the one just built, up to `most` datagrams in all, while each is filled by new data of one
   * stream. Stops before anything out of the ordinary; the caller goes on from there. The path may carry application data.
   */
  extend(out: TransmitBatch, path: Path, most: number, ecn: number, nowUs: Micros): void {
    if (!this.#isBulk(path, nowUs)) return
    const core = this.#core
    const train = this.#train
    const { space, recovery } = path
    const { sent } = space
    const { outbox } = core.streams
    const { bytes, segmentSize } = out
    const dcid = path.cids.active?.cid ?? EMPTY
    const datagrams = Math.min(most - out.count, Math.floor((bytes.length - out.length) / segmentSize))
    let left = Math.min(datagrams, train.packetsLeft, train.numbersBeforeSkip(space))
    const pnLength = packetNumberLength(sent.next + Math.max(0, left), space.largestAcked)
    const headerLength = 1 + dcid.length + pnLength
    const room = segmentSize - headerLength - TAG_LENGTH
    const flags = SentFlag.Eliciting | SentFlag.CountsInFlight | (ecn === Ecn.Ect0 ? SentFlag.Ect0 : 0)
    const before = out.length
    for (; left > 0 && train.budget > 0 && sent.canSend(); left--) {
      const stream = outbox.nextFilling(room)
      if (stream === undefined) break
      // RFC 9000 §17.4: the spin bit is always zero; see docs/spec-exceptions.md
      const pnOffset = writeShortHeader(bytes, out.length, dcid, pnLength, core.keys.phase, train.fixedBit(), 0)
      const frameAt = writePacketNumber(bytes, pnOffset, sent.next, pnLength)
      outbox.writeFilling(stream, bytes, frameAt, room, sent)
      const packetNumber = recovery.onSent(space, segmentSize, flags, nowUs)
      train.appendWhole(out, path, headerLength, pnLength, packetNumber)
      if (ecn === Ecn.Ect0) path.ecn.onSent(path.ecnSpace(Level.OneRtt), ecn)
    }
    if (out.length > before) path.pacer.onSent(out.length - before, nowUs)
  }

  /** The datagram just built was a single 1-RTT packet, and after it only new data of streams waits for this path. */
  #isBulk(path: Path, nowUs: Micros): boolean {
    const core = this.#core
    const train = this.#train
    return (
      train.packetCount === 1 &&
      train.levelOf(0) === Level.OneRtt &&
      train.isEliciting(0) &&
      core.observer === null &&
      path.isValidated &&
      path.space.probesPending === 0 &&
      core.streams.outbox.isBulk &&
      core.datagrams.size === 0 &&
      !this.#acks.isDue(path, nowUs) &&
      !hasControl(core) &&
      (path.id !== 0 || !core.handshake.hasCrypto(Level.OneRtt)) &&
      core.spaces[Level.Initial] === undefined &&
      core.spaces[Level.Handshake] === undefined
    )
  }
}
