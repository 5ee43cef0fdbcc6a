/** Which connection, direction and path a destination connection ID stands for. */

/** Most connection IDs remembered; the oldest go first. */
const CIDS_MAX = 200_000
const SHORT_CID_LENGTHS_MAX = 21

/** What a packet with this destination connection ID is. */
export interface CidEntry<Owner> {
  readonly owner: Owner
  readonly isToServer: boolean
  readonly pathId: number
}

export class CidTable<Owner> {
  readonly #entries = new Map<string, CidEntry<Owner>>()
  /** How many entries there are of each length, to find the length of a short header's ID. */
  readonly #lengths: number[] = new Array<number>(SHORT_CID_LENGTHS_MAX).fill(0)

  /** Empty IDs stand for nothing. A known ID keeps its meaning unless it comes from a newer connection. */
  add(cid: Uint8Array, entry: CidEntry<Owner>): void {
    if (cid.length === 0 || cid.length >= SHORT_CID_LENGTHS_MAX) return
    const key = keyOf(cid, 0, cid.length)
    const known = this.#entries.get(key)
    if (known?.owner === entry.owner) return
    if (known === undefined) this.#lengths[cid.length] = (this.#lengths[cid.length] as number) + 1
    else this.#entries.delete(key)
    this.#entries.set(key, entry)
    if (this.#entries.size > CIDS_MAX) this.#forgetOldest()
  }

  /** The entry of the ID at `offset`, of a known length. */
  find(bytes: Uint8Array, offset: number, length: number): CidEntry<Owner> | undefined {
    return this.#entries.get(keyOf(bytes, offset, length))
  }

  /** The entry of a short header's ID that begins at `offset`, the longest that fits, and its length. */
  findShort(bytes: Uint8Array, offset: number, end: number): { entry: CidEntry<Owner>; length: number } | undefined {
    for (let length = Math.min(SHORT_CID_LENGTHS_MAX - 1, end - offset); length > 0; length--) {
      if (this.#lengths[length] === 0) continue
      const entry = this.find(bytes, offset, length)
      if (entry !== undefined) return { entry, length }
    }
    return undefined
  }

  #forgetOldest(): void {
    const [oldest] = this.#entries.keys()
    if (oldest === undefined) return
    this.#entries.delete(oldest)
    const length = oldest.length
    this.#lengths[length] = (this.#lengths[length] as number) - 1
  }
}

/** One character per byte. */
function keyOf(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + length))
}
