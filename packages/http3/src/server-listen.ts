/** A whole HTTP/3 server in one call: sockets, certificates, connections, requests. */
import { type ListenOptions, listen, type QuicListener } from '@quicether/net'
import { h3ErrorCodes } from './errors.ts'
import { type Http3Handler, type Http3ServerConnection, type ServeHttp3Options, serveHttp3 } from './server.ts'
import { type FetchHandler, fromFetch } from './server-fetch.ts'
import { fromNode, type NodeListener } from './server-node.ts'

export interface Http3ServerOptions extends Omit<ListenOptions, 'alpn' | 'earlyData'> {
  /** Exactly one of the three says how requests are answered. */
  readonly fetch?: FetchHandler
  readonly node?: NodeListener
  readonly handler?: Http3Handler
  /** Accept 0-RTT; `safe` answers unsafe methods in it with 425. False when absent. */
  readonly earlyData?: false | 'safe' | 'all'
  /** Limits and extensions of HTTP/3. */
  readonly http3?: ServeHttp3Options['config']
  readonly onError?: ServeHttp3Options['onError']
  readonly bodyBytesMax?: ServeHttp3Options['bodyBytesMax']
  /** Aborting closes the server as `close()` does. */
  readonly signal?: AbortSignal
}

/** Made by `serve`. */
export interface Http3Server extends AsyncDisposable {
  readonly port: number
  /** For certificates, addresses and statistics. */
  readonly listener: QuicListener
  /** Value of an `Alt-Svc` field for the TCP servers of the same name (RFC 7838). */
  readonly altSvc: string
  /** GOAWAY: running requests finish, for at most `graceMs` (5,000 when absent), then everything closes. Never rejects. */
  close(graceMs?: number): Promise<void>
}

const GRACE_MS = 5_000

/**
 * Serves HTTP/3. Responses are sent in the order of their priorities (RFC 9218) unless `config.streamScheduler` says otherwise.
 * Rejects like `listen`, and with TypeError unless there is exactly one way to answer.
 */
export async function serve(options: Http3ServerOptions): Promise<Http3Server> {
  const { fetch, node, handler, earlyData = false, http3, onError, bodyBytesMax, config, signal, ...rest } = options
  signal?.throwIfAborted()
  const answer = handlerOf(fetch, node, handler)
  const served = new Set<Http3ServerConnection>()
  const perConnection: ServeHttp3Options = {
    ...(http3 === undefined ? {} : { config: http3 }),
    ...(onError === undefined ? {} : { onError }),
    ...(bodyBytesMax === undefined ? {} : { bodyBytesMax }),
    ...(earlyData === false ? {} : { earlyData }),
  }
  const listener = await listen(
    { ...rest, alpn: ['h3'], earlyData: earlyData !== false, config: { streamScheduler: 'rfc9218', ...config } },
    (connection) => {
      const one = serveHttp3(connection, answer, perConnection)
      served.add(one)
      void one.closed.then(() => served.delete(one))
    },
  )
  const close = async (graceMs: number = GRACE_MS): Promise<void> => {
    const all = Promise.all([...served].map((connection) => connection.shutdown()))
    const closing = listener.close({ graceMs, code: h3ErrorCodes.H3_NO_ERROR })
    await closing
    await all
  }
  signal?.addEventListener('abort', () => void close(), { once: true })
  return {
    port: listener.port,
    listener,
    altSvc: `h3=":${listener.port}"; ma=86400`,
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}

function handlerOf(
  fetch: FetchHandler | undefined,
  node: NodeListener | undefined,
  handler: Http3Handler | undefined,
): Http3Handler {
  const ways = [handler, fetch && fromFetch(fetch), node && fromNode(node)].filter((way) => way !== undefined)
  const [way, second] = ways
  if (way === undefined || second !== undefined) {
    throw new TypeError(`give serve exactly one of fetch, node and handler, not ${ways.length}`)
  }
  return way
}
