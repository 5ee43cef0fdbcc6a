/** Earliest deadline of many connections: a binary heap that knows where each one sits. */

export interface HeapItem {
  deadlineUs: number
  /** Position in the heap, -1 when absent. Written by the heap only. */
  heapIndex: number
}

export class DeadlineHeap<T extends HeapItem> {
  readonly #items: T[] = []

  get size(): number {
    return this.#items.length
  }

  peek(): T | undefined {
    return this.#items[0]
  }

  /** Inserts the item or moves it to its new deadline; Infinity removes it. */
  set(item: T, deadlineUs: number): void {
    if (deadlineUs === Infinity) {
      item.deadlineUs = deadlineUs
      this.remove(item)
      return
    }
    if (item.heapIndex < 0) {
      item.deadlineUs = deadlineUs
      item.heapIndex = this.#items.length
      this.#items.push(item)
      this.#up(item.heapIndex)
      return
    }
    const before = item.deadlineUs
    item.deadlineUs = deadlineUs
    if (deadlineUs < before) this.#up(item.heapIndex)
    else if (deadlineUs > before) this.#down(item.heapIndex)
  }

  remove(item: T): void {
    const index = item.heapIndex
    if (index < 0) return
    item.heapIndex = -1
    const last = this.#items.pop() as T
    if (last === item) return
    this.#items[index] = last
    last.heapIndex = index
    this.#up(index)
    this.#down(last.heapIndex)
  }

  #up(start: number): void {
    const items = this.#items
    let index = start
    const item = items[index] as T
    while (index > 0) {
      const parentIndex = (index - 1) >>> 1
      const parent = items[parentIndex] as T
      if (parent.deadlineUs <= item.deadlineUs) break
      items[index] = parent
      parent.heapIndex = index
      index = parentIndex
    }
    items[index] = item
    item.heapIndex = index
  }

  #down(start: number): void {
    const items = this.#items
    let index = start
    const item = items[index] as T
    for (;;) {
      let childIndex = 2 * index + 1
      if (childIndex >= items.length) break
      const right = items[childIndex + 1]
      if (right !== undefined && right.deadlineUs < (items[childIndex] as T).deadlineUs) childIndex++
      const child = items[childIndex] as T
      if (child.deadlineUs >= item.deadlineUs) break
      items[index] = child
      child.heapIndex = index
      index = childIndex
    }
    items[index] = item
    item.heapIndex = index
  }
}
