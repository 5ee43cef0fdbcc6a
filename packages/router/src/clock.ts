/** Time and timers as the data plane uses them, so that tests can play time forward by hand. */

export interface Clock {
  /** Monotonic milliseconds from an arbitrary origin. */
  nowMs(): number
  /** Runs `action` once after `delayMs`; the function returned calls it off. Does not keep the process alive. */
  after(delayMs: number, action: () => void): () => void
}

/** The real time of this process. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after: (delayMs, action) => {
    const timer = setTimeout(action, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
