/** Routes connection IDs that this endpoint issued to their owners: an open-addressing table over 8-byte keys. */

/** Length of every connection ID we issue. Short headers do not carry it, so it is the same for all. */
export const LOCAL_CID_LENGTH = 8

const CAPACITY_MIN = 64
const EMPTY = 0
const USED = 1
const GONE = 2

/** What a connection ID of ours leads to. */
export interface CidTarget<T> {
  readonly owner: T
  readonly pathId: number
  readonly sequence: number
}

export class CidTable<T> {
  #high: Int32Array = new Int32Array(CAPACITY_MIN)
  #low: Int32Array = new Int32Array(CAPACITY_MIN)
  #state: Uint8Array = new Uint8Array(CAPACITY_MIN)
  #values: (CidTarget<T> | undefined)[] = new Array<CidTarget<T> | undefined>(CAPACITY_MIN).fill(undefined)
  #mask = CAPACITY_MIN - 1
  #occupied = 0
  size = 0

  /** Adds `cid` (8 bytes); an existing entry is replaced. */
  set(cid: Uint8Array, target: CidTarget<T>): void {
    if ((this.#occupied + 1) * 2 > this.#mask) this.#rebuild()
    this.#insert(word(cid, 0), word(cid, 4), target)
  }

  #insert(high: number, low: number, target: CidTarget<T>): void {
    let slot = hash(high, low) & this.#mask
    let free = -1
    for (; this.#state[slot] !== EMPTY; slot = (slot + 1) & this.#mask) {
      if (this.#state[slot] === GONE) {
        if (free < 0) free = slot
      } else if (this.#high[slot] === high && this.#low[slot] === low) {
        this.#values[slot] = target
        return
      }
    }
    if (free < 0) this.#occupied++
    const at = free < 0 ? slot : free
    this.#state[at] = USED
    this.#high[at] = high
    this.#low[at] = low
    this.#values[at] = target
    this.size++
  }

  /** Target of the 8 bytes at `offset`, undefined when unknown. */
  get(bytes: Uint8Array, offset: number): CidTarget<T> | undefined {
    const high = word(bytes, offset)
    const low = word(bytes, offset + 4)
    let slot = hash(high, low) & this.#mask
    for (; this.#state[slot] !== EMPTY; slot = (slot + 1) & this.#mask) {
      if (this.#state[slot] === USED && this.#high[slot] === high && this.#low[slot] === low) return this.#values[slot]
    }
    return undefined
  }

  delete(cid: Uint8Array): void {
    const high = word(cid, 0)
    const low = word(cid, 4)
    let slot = hash(high, low) & this.#mask
    for (; this.#state[slot] !== EMPTY; slot = (slot + 1) & this.#mask) {
      if (this.#state[slot] !== USED || this.#high[slot] !== high || this.#low[slot] !== low) continue
      this.#state[slot] = GONE
      this.#values[slot] = undefined
      this.size--
      return
    }
  }

  #rebuild(): void {
    const old = { high: this.#high, low: this.#low, state: this.#state, values: this.#values }
    let capacity = CAPACITY_MIN
    while (capacity < this.size * 4 + 4) capacity *= 2
    this.#high = new Int32Array(capacity)
    this.#low = new Int32Array(capacity)
    this.#state = new Uint8Array(capacity)
    this.#values = new Array<CidTarget<T> | undefined>(capacity).fill(undefined)
    this.#mask = capacity - 1
    this.#occupied = 0
    this.size = 0
    for (let i = 0; i < old.state.length; i++) {
      if (old.state[i] === USED)
        this.#insert(old.high[i] as number, old.low[i] as number, old.values[i] as CidTarget<T>)
    }
  }
}

function word(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset] as number) << 24) |
    ((bytes[offset + 1] as number) << 16) |
    ((bytes[offset + 2] as number) << 8) |
    (bytes[offset + 3] as number)
  )
}

/** Our connection IDs are random, but a table must not depend on it. */
function hash(high: number, low: number): number {
  let h = Math.imul(high ^ (high >>> 16), 0x7feb352d) ^ Math.imul(low ^ (low >>> 15), 0x846ca68b)
  h ^= h >>> 13
  return h >>> 0
}
