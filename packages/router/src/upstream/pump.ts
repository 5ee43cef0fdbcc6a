/** Writes a body to a stream at the pace the other side takes it. */
import type { Writable } from 'node:stream'

/** Resolves when all is handed over, or the stream is gone; ends nothing. Rejects when the body fails. */
export async function pump(body: AsyncIterable<Uint8Array>, sink: Writable): Promise<void> {
  for await (const chunk of body) {
    if (sink.destroyed) return
    if (sink.write(chunk)) continue
    await new Promise<void>((resolve) => {
      const done = (): void => {
        sink.off('drain', done)
        sink.off('close', done)
        resolve()
      }
      sink.once('drain', done)
      sink.once('close', done)
    })
  }
}
