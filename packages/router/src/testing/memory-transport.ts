/** Client and server ends of a connection without a network, for tests of the router and the client together. */
import type { CloseReason, StreamStats } from '@quicether/transport'
import type { ExchangeHandler, HeaderList } from '../exchange.ts'
import type { ClientConnection, ClientRequest, ClientResponse, OnServerConnection, ServerListen } from '../ports.ts'

const established = { earlyData: false, resumed: false, establishmentMs: 1.25 }
const stats: StreamStats = {
  bytesSent: 1_000,
  bytesReceived: 2_000,
  packetsSent: 4,
  packetsReceived: 6,
  packetBytesSent: 1_100,
  packetBytesReceived: 2_200,
  retransmissions: 0,
  framesLost: 0,
}
const counters = {
  bytesSent: 1_100,
  bytesReceived: 2_200,
  packetsSent: 4,
  packetsReceived: 6,
  packetsLost: 0,
  smoothedRttUs: 300,
}

/** `listen` takes the router's handler, `connect` plays clients of it. */
export class MemoryTransport {
  #onConnection: OnServerConnection | undefined
  #connections = 0

  readonly listen: ServerListen = async (options, onConnection) => {
    this.#onConnection = onConnection
    return { host: options.host, port: options.port, close: async () => {} }
  }

  connect(): ClientConnection {
    if (this.#onConnection === undefined) throw new Error('nobody listens')
    const closed = Promise.withResolvers<CloseReason>()
    const remote = `192.0.2.1:${++this.#connections}`
    const server = {
      remote,
      remoteAddress: '192.0.2.1',
      established: Promise.resolve(established),
      closed: closed.promise,
      counters: () => counters,
    }
    const handler = this.#onConnection(server)
    let nextStream = 0
    return {
      remote: 'memory',
      established: Promise.resolve(established),
      closed: closed.promise,
      request: (request) => exchange(handler, request, nextStream++ * 4),
      counters: () => counters,
      close: async () => closed.resolve({ kind: 'application', by: 'peer', code: 0x100, reason: '' }),
    }
  }
}

async function exchange(handler: ExchangeHandler, request: ClientRequest, streamId: number): Promise<ClientResponse> {
  const head = Promise.withResolvers<{ status: number; headers: HeaderList }>()
  const trailers = Promise.withResolvers<HeaderList | undefined>()
  const pipe = new TransformStream<Uint8Array, Uint8Array>()
  const writer = pipe.writable.getWriter()
  writer.closed.catch(() => {})
  trailers.promise.catch(() => {})
  void handler(
    {
      streamId,
      method: request.method,
      path: request.path,
      authority: 'router.test',
      headers: request.headers,
      body: request.body ?? (async function* () {})(),
      signal: new AbortController().signal,
      openedAtMs: performance.now(),
    },
    {
      head: async (status, headers) => head.resolve({ status, headers }),
      write: async (chunk) => await writer.write(Uint8Array.from(chunk)),
      end: async (lines) => {
        trailers.resolve(lines)
        await writer.close()
      },
      abort: (reason) => {
        head.reject(new Error(reason))
        trailers.reject(new Error(reason))
        void writer.abort(new Error(reason))
      },
      stats: () => stats,
    },
  )
  const { status, headers } = await head.promise
  return { streamId, status, headers, body: pipe.readable, trailers: trailers.promise, stats: () => stats }
}
