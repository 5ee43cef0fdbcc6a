/** Time for what waits in milliseconds: the system's, or a test's own. */

export interface Clock {
  /** Monotonic, from any origin. */
  nowMs(): number
  /** Calls back once after `delayMs`; the returned function prevents it. */
  after(delayMs: number, callback: () => void): () => void
}

/** Its timers do not keep the process alive. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.max(0, delayMs))
    timer.unref()
    return () => clearTimeout(timer)
  },
}
