/** A priority queue of tasks in virtual time; tasks due at the same time run in the order they were scheduled. */
import type { Micros } from '@quicether/transport'

/** Something that happens at a time. Tasks are not cancelled: a task that is no longer wanted returns at once. */
export interface Task {
  run(nowUs: Micros): void
}

export class TaskHeap {
  /** Parallel arrays in heap order: no object per entry. */
  readonly #times: number[] = []
  readonly #orders: number[] = []
  readonly #tasks: Task[] = []
  #scheduled = 0

  get size(): number {
    return this.#tasks.length
  }

  /** Time of the earliest task, Infinity when there is none. */
  nextUs(): Micros {
    return this.#times.length === 0 ? Infinity : (this.#times[0] as number)
  }

  push(atUs: Micros, task: Task): void {
    if (!(atUs < Infinity)) throw new RangeError(`a task needs a finite time, got ${atUs}`)
    const order = this.#scheduled++
    let index = this.#tasks.length
    this.#times.push(atUs)
    this.#orders.push(order)
    this.#tasks.push(task)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!this.#isBefore(atUs, order, parent)) break
      this.#move(parent, index)
      index = parent
    }
    this.#place(index, atUs, order, task)
  }

  /** Removes and returns the earliest task; undefined when there is none. */
  pop(): Task | undefined {
    const first = this.#tasks[0]
    const lastTask = this.#tasks.pop()
    const lastTime = this.#times.pop()
    const lastOrder = this.#orders.pop()
    if (lastTask === undefined || this.#tasks.length === 0) return first
    this.#sink(lastTime as number, lastOrder as number, lastTask)
    return first
  }

  #sink(time: number, order: number, task: Task): void {
    const size = this.#tasks.length
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= size) break
      const right = child + 1
      if (right < size && this.#isBefore(this.#times[right] as number, this.#orders[right] as number, child))
        child = right
      if (this.#isBefore(time, order, child)) break
      this.#move(child, index)
      index = child
    }
    this.#place(index, time, order, task)
  }

  #isBefore(time: number, order: number, index: number): boolean {
    const other = this.#times[index] as number
    return time < other || (time === other && order < (this.#orders[index] as number))
  }

  #move(from: number, to: number): void {
    this.#place(to, this.#times[from] as number, this.#orders[from] as number, this.#tasks[from] as Task)
  }

  #place(index: number, time: number, order: number, task: Task): void {
    this.#times[index] = time
    this.#orders[index] = order
    this.#tasks[index] = task
  }
}
