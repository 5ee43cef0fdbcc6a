/** Loaded into the router under soak (`--import`, with `--expose-gc`): tells its memory after a collection when asked. */

/** What the probe answers to the message `memory`, in bytes. */
export interface MemoryMessage {
  readonly kind: 'memory'
  readonly heapBytes: number
  /** Buffers outside the JavaScript heap. */
  readonly externalBytes: number
  readonly residentBytes: number
}

process.on('message', (message) => {
  if (message !== 'memory') return
  // Twice: finalizers of the first collection free what the second can collect.
  globalThis.gc?.()
  setImmediate(() => {
    globalThis.gc?.()
    const { heapUsed, external, rss } = process.memoryUsage()
    const answer: MemoryMessage = { kind: 'memory', heapBytes: heapUsed, externalBytes: external, residentBytes: rss }
    process.send?.(answer)
  })
})
// The listener alone must not keep the process alive.
process.channel?.unref()
