/** The dynamic table of RFC 9204 §3.2: a ring of field lines addressed by absolute index. */

/** Bytes an entry takes beyond its name and value (§3.2.1). */
export const ENTRY_OVERHEAD_BYTES = 32

/** Size of an entry, which counts against the capacity (RFC 9204 §3.2.1). */
export function entryBytes(name: string, value: string): number {
  return name.length + value.length + ENTRY_OVERHEAD_BYTES
}

/** Called with each entry that leaves the table. */
export type OnEvict = (index: number, name: string, value: string) => void

export class DynamicTable {
  /** Absolute index the next entry will get = entries ever inserted. */
  insertCount: number
  /** Absolute index of the oldest entry still present. */
  oldestIndex: number
  usedBytes: number
  capacityBytes: number
  readonly maxCapacityBytes: number
  readonly #names: (string | undefined)[]
  readonly #values: (string | undefined)[]
  readonly #slots: number
  readonly #onEvict: OnEvict | null

  constructor(maxCapacityBytes: number, onEvict: OnEvict | null = null) {
    this.insertCount = 0
    this.oldestIndex = 0
    this.usedBytes = 0
    this.capacityBytes = 0
    this.maxCapacityBytes = maxCapacityBytes
    this.#slots = Math.floor(maxCapacityBytes / ENTRY_OVERHEAD_BYTES)
    this.#names = []
    this.#values = []
    this.#onEvict = onEvict
  }

  /** RFC 9204 §4.5.1.1 MaxEntries. */
  get maxEntries(): number {
    return this.#slots
  }

  has(index: number): boolean {
    return index >= this.oldestIndex && index < this.insertCount
  }

  /** The caller has checked `has(index)`. */
  name(index: number): string {
    return this.#names[index % this.#slots] as string
  }

  value(index: number): string {
    return this.#values[index % this.#slots] as string
  }

  /** Appends an entry, evicting the oldest as needed. False = larger than the capacity; nothing changes. */
  insert(name: string, value: string): boolean {
    const bytes = entryBytes(name, value)
    if (bytes > this.capacityBytes) return false
    this.#evictDownTo(this.capacityBytes - bytes)
    const slot = this.insertCount % this.#slots
    this.#names[slot] = name
    this.#values[slot] = value
    this.insertCount++
    this.usedBytes += bytes
    return true
  }

  /** The caller has checked the bound `maxCapacityBytes`. */
  setCapacity(capacityBytes: number): void {
    this.capacityBytes = capacityBytes
    this.#evictDownTo(capacityBytes)
  }

  #evictDownTo(bytes: number): void {
    while (this.usedBytes > bytes) {
      const index = this.oldestIndex
      const slot = index % this.#slots
      const name = this.#names[slot] as string
      const value = this.#values[slot] as string
      this.usedBytes -= entryBytes(name, value)
      this.#names[slot] = undefined
      this.#values[slot] = undefined
      this.oldestIndex = index + 1
      this.#onEvict?.(index, name, value)
    }
  }
}
