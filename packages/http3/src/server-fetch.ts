/** Handlers shaped `(Request) => Response`, the web's way, for `serveHttp3`. */
import { type HeaderFields, toHeaders, toLines } from './client-fetch.ts'
import { Http3Error } from './errors.ts'
import type { HeaderList } from './headers.ts'
import type { Priority } from './priority.ts'
import type { Http3Handler, ServerRequest, ServerResponse } from './server.ts'

/** What a handler can do and know beyond the web's `Request`. */
export interface FetchContext {
  /** Arrived as 0-RTT data: it might be a replay (RFC 8470). */
  readonly isEarly: boolean
  /** `:authority` as it came. */
  readonly authority: string
  /** Trailers of the request; settles when its body has been read to its end. */
  readonly trailers: Promise<Headers>
  /** A 1xx response before the final one, e.g. 103 Early Hints. */
  sendInformational(status: number, headers?: HeaderFields): void
  /** Trailers of the response; called when its body is through. */
  setTrailers(trailers: () => HeaderFields): void
  /** Order of the response among others (RFC 9218). */
  setPriority(priority: Priority): void
  /** For what the web's objects cannot say: `accept`, `acceptWebTransport`, timing. */
  readonly request: ServerRequest
  readonly response: ServerResponse
}

/** Undefined = the handler has answered with `context.response` itself, e.g. by `acceptWebTransport`. */
export type FetchHandler = (
  request: Request,
  context: FetchContext,
) => Response | undefined | Promise<Response | undefined>

/** Methods that the web's `Request` refuses; CONNECT is for handlers of `serveHttp3`. */
const FORBIDDEN: ReadonlySet<string> = new Set(['TRACE', 'TRACK'])

/** Makes a handler of `serveHttp3` from one shaped like the web's service workers. */
export function fromFetch(handler: FetchHandler): Http3Handler {
  return async (request, response) => {
    if (FORBIDDEN.has(request.method.toUpperCase())) return response.send(501, [], null)
    let trailers: (() => HeaderFields) | undefined
    const context: FetchContext = {
      isEarly: request.isEarly,
      authority: request.authority ?? '',
      get trailers() {
        return request.trailers.then(toHeaders)
      },
      sendInformational: (status, headers) => response.sendInformational(status, toLines(new Headers(headers))),
      setTrailers: (make) => {
        trailers = make
      },
      setPriority: (priority) => response.setPriority(priority),
      request,
      response,
    }
    const answer = await handler(toRequest(request), context)
    // RFC 9220 §3: a handler that knows nothing of CONNECT must not seem to accept it with its 200.
    if (answer?.ok === true && request.method === 'CONNECT') return response.send(501, [], null)
    if (answer !== undefined) return send(response, answer, trailers)
    if (response.headersSent) return undefined
    const message = `stream ${request.streamId}: the handler returned no Response and sent none`
    throw new Http3Error('ERR_HTTP3_INVALID_STATE', message, { by: 'local', streamId: request.streamId })
  }
}

function toRequest(request: ServerRequest): Request {
  const { authority = 'unknown.invalid', scheme = 'https', path = '/' } = request
  // CONNECT has no place in the web's Request: it shows as GET, `context.request` has the method.
  const method = request.method === 'CONNECT' ? 'GET' : request.method
  const hasBody = method !== 'GET' && method !== 'HEAD' && !request.body.isFinished
  return new Request(new URL(path === '*' ? '/' : path, `${scheme}://${authority}`), {
    method,
    headers: toHeaders(request.headers),
    signal: request.signal,
    ...(hasBody ? { body: request.body.readable(), duplex: 'half' as const } : {}),
  })
}

async function send(
  response: ServerResponse,
  answer: Response,
  trailers: (() => HeaderFields) | undefined,
): Promise<void> {
  const lines: HeaderList = toLines(answer.headers)
  const end = trailers === undefined ? undefined : () => toLines(new Headers(trailers()))
  await response.send(answer.status, lines, answer.body, end)
}
