/** 1-RTT packets of one receive batch, opened together: one call of the protection port for all of them. */
import type { CidTarget } from '../cid/cid-table.ts'
import { LOCAL_CID_LENGTH } from '../cid/cid-table.ts'
import type { Connection } from '../connection.ts'
import type { Path } from '../path/path.ts'
import { type CryptoPort, DESCRIPTOR_WORDS, Level, OpenIn, OpenOut } from '../ports/crypto.ts'
import { type OpenedPacket, packetNumberOf } from './opened-packet.ts'

const STAGED_MAX = 256

export class OneRttIntake {
  count = 0
  readonly #descriptors: Int32Array = new Int32Array(STAGED_MAX * DESCRIPTOR_WORDS)
  readonly #connections: (Connection | undefined)[] = new Array<Connection | undefined>(STAGED_MAX).fill(undefined)
  readonly #paths: (Path | undefined)[] = new Array<Path | undefined>(STAGED_MAX).fill(undefined)
  readonly #indexes: Int32Array = new Int32Array(STAGED_MAX)
  readonly #sequences: Int32Array = new Int32Array(STAGED_MAX)

  get isFull(): boolean {
    return this.count === STAGED_MAX
  }

  /** Notes the packet at `offset`, the batch's datagram `index`. Always true. */
  stage(target: CidTarget<Connection>, path: Path, offset: number, length: number, index: number): boolean {
    const { owner } = target
    const n = this.count
    const at = n * DESCRIPTOR_WORDS
    const words = this.#descriptors
    words[at + OpenIn.Offset] = offset
    words[at + OpenIn.Length] = length
    words[at + OpenIn.PnOffset] = 1 + LOCAL_CID_LENGTH
    words[at + OpenIn.KeyId] = owner.core.keys.rx(Level.OneRtt)
    words[at + OpenIn.PathId] = path.id
    words[at + OpenIn.Space] = path.space.handle
    this.#connections[n] = owner
    this.#paths[n] = path
    this.#indexes[n] = index
    this.#sequences[n] = target.sequence
    this.count = n + 1
    return true
  }

  /** Opens everything staged in place and empties the stage; results are read with the methods below. */
  open(crypto: CryptoPort, bytes: Uint8Array): number {
    const { count } = this
    this.count = 0
    if (count > 0) crypto.open(bytes, this.#descriptors, count)
    return count
  }

  connection(n: number): Connection {
    return this.#connections[n] as Connection
  }

  path(n: number): Path {
    return this.#paths[n] as Path
  }

  /** Index of the datagram in its batch. */
  index(n: number): number {
    return this.#indexes[n] as number
  }

  /** Bytes of plaintext, or a negative `OpenFailure`. */
  payloadLength(n: number): number {
    return this.#descriptors[n * DESCRIPTOR_WORDS + OpenOut.PayloadLength] as number
  }

  payloadOffset(n: number): number {
    return this.#descriptors[n * DESCRIPTOR_WORDS + OpenOut.PayloadOffset] as number
  }

  generation(n: number): number {
    return this.#descriptors[n * DESCRIPTOR_WORDS + OpenOut.Generation] as number
  }

  /** Describes packet `n` to the receiver. */
  describe(n: number, into: OpenedPacket, length: number, ecn: number): void {
    const at = n * DESCRIPTOR_WORDS
    into.level = Level.OneRtt
    into.packetNumber = packetNumberOf(this.#descriptors, at)
    into.firstByte = this.#descriptors[at + OpenOut.FirstByte] as number
    into.length = length
    into.ecn = ecn
    into.localSequence = this.#sequences[n] as number
  }
}
