/** An exchange without a network, for tests of the proxy: the test plays the client. */
import type { StreamStats } from '@quicether/transport'
import type { ExchangeRequest, ExchangeResponse, HeaderList } from '../exchange.ts'

export interface MemoryExchangeOptions {
  readonly method?: string
  readonly path: string
  readonly headers?: HeaderList
  readonly body?: AsyncIterable<Uint8Array>
  /** The request came as 0-RTT; resolves when the handshake is complete. */
  readonly confirmed?: Promise<unknown>
  /** Called before each chunk of the response is accepted; its promise is the client's backpressure. */
  readonly onWrite?: (chunk: Uint8Array) => Promise<void>
}

/** Request and response ends of one exchange, with everything the client saw. */
export class MemoryExchange {
  readonly request: ExchangeRequest
  readonly response: ExchangeResponse
  readonly chunks: Uint8Array[] = []
  readonly #controller = new AbortController()
  status: number | undefined
  headers: HeaderList = []
  trailers: HeaderList | undefined
  isEnded = false
  abortReason: string | undefined

  constructor(options: MemoryExchangeOptions) {
    this.request = {
      streamId: 0,
      method: options.method ?? 'GET',
      path: options.path,
      authority: 'router.test',
      headers: options.headers ?? [],
      body: options.body ?? noBody(),
      signal: this.#controller.signal,
      confirmed: options.confirmed,
      openedAtMs: performance.now(),
    }
    this.response = {
      head: async (status, headers) => {
        this.status = status
        this.headers = headers
      },
      write: async (chunk) => {
        await options.onWrite?.(chunk)
        this.chunks.push(Uint8Array.from(chunk))
      },
      end: async (trailers) => {
        this.trailers = trailers
        this.isEnded = true
      },
      abort: (reason) => {
        this.abortReason = reason
      },
      stats: () => this.#stats(),
    }
  }

  /** The client resets the stream. */
  leave(): void {
    this.#controller.abort(new Error('stream reset by the client'))
  }

  header(name: string): string | undefined {
    return this.headers.find(([key]) => key === name)?.[1]
  }

  text(): string {
    return Buffer.concat(this.chunks).toString('utf8')
  }

  #stats(): StreamStats {
    const bytesSent = this.chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
    return {
      bytesSent,
      bytesReceived: 100,
      packetsSent: 4,
      packetsReceived: 1,
      packetBytesSent: bytesSent + 120,
      packetBytesReceived: 130,
      retransmissions: 1,
      framesLost: 1,
    }
  }
}

async function* noBody(): AsyncIterable<Uint8Array> {}
