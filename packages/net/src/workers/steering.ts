/** Which worker a connection ID belongs to: a keyed hash that the kernel and every worker compute alike. */
import type { RandomSource } from '@quicether/transport'
import { halfSipHash } from './half-sip-hash.ts'
import { steeringProgram } from './steering-program.ts'

/** Bytes of a connection ID that the hash reads: ours have as many, first ones of clients at least. */
export const STEERED_BYTES = 8
/** Bytes of the key. */
export const STEERING_KEY_BYTES = 8
/** Most workers of one group: an ID is drawn until it fits, on average as many times as there are workers. */
export const WORKERS_MAX = 64

/**
 * An ID belongs to worker `hash(key, ID) % count`. IDs of ours are random ones that happen to belong to the worker which
 * gives them out, so that nothing in them shows the worker, nor that two of them belong together, without the key.
 */
export class Steering {
  readonly count: number
  readonly #key0: number
  readonly #key1: number

  /** @param key 8 secret random bytes, the same for the whole group. */
  constructor(key: Uint8Array, count: number) {
    this.count = count
    this.#key0 = word(key, 0)
    this.#key1 = word(key, 4)
  }

  /** The worker of the ID whose first 8 bytes stand at `offset`. */
  indexOf(bytes: Uint8Array, offset: number): number {
    return halfSipHash(this.#key0, this.#key1, word(bytes, offset), word(bytes, offset + 4)) % this.count
  }

  /** A source of connection IDs of 8 bytes that belong to worker `index`. */
  connectionIds(index: number, random: RandomSource): RandomSource {
    return {
      fill: (cid) => {
        // RFC 9000 §5.1: "Connection IDs MUST NOT contain any information that can be used by an external observer (that is, one that does not cooperate with the issuer) to correlate them with other connection IDs for the same connection."
        do random.fill(cid)
        while (this.indexOf(cid, 0) !== index)
      },
    }
  }

  /** Words for `UdpSocket.attachSteering`: the kernel then delivers a datagram to the worker of its connection ID. */
  program(): Int32Array {
    return steeringProgram(this.#key0, this.#key1, this.count)
  }
}

/** The kernel loads words in network order. */
function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  )
}
