/** A stream as Node's `Duplex`, for libraries that want one. */
import { Duplex } from 'node:stream'

/** What `toDuplex` needs; `QuicStream` and the tunnels of HTTP/3 have it. */
export interface DuplexSource extends AsyncIterable<Uint8Array> {
  write(data: Uint8Array): Promise<void>
  end(): void
  abort(): void
}

/**
 * Wraps a bidirectional stream; it is the stream's only reader from now on. Destroying it gives up both directions; errors of
 * the stream become its `error` event.
 */
export function toDuplex(source: DuplexSource): Duplex {
  const iterator = source[Symbol.asyncIterator]()
  let isReading = false
  const duplex: Duplex = new Duplex({
    read() {
      if (isReading) return
      isReading = true
      iterator.next().then(
        ({ done, value }) => {
          isReading = false
          // `push` asks for the next piece by calling `read` again, unless the buffer is full.
          duplex.push(done === true ? null : value)
        },
        (error: Error) => duplex.destroy(error),
      )
    },
    write(chunk: Buffer, _encoding, done) {
      // The engine keeps what it is given, Node may use its buffers again.
      void send(source, new Uint8Array(chunk)).then(() => done(), done)
    },
    final(done) {
      source.end()
      done()
    },
    destroy(error, done) {
      if (!duplex.readableEnded || !duplex.writableFinished) source.abort()
      done(error)
    },
  })
  return duplex
}

async function send(source: DuplexSource, data: Uint8Array): Promise<void> {
  await source.write(data)
}
