/** One `[[service]]`: when it is chosen, where its requests go, and what happens when that fails. */
import * as v from 'valibot'
import { flag, milliseconds, rateLimit, requestKey, text, whole } from './values.ts'

const prefix = v.pipe(
  v.string('a path prefix in quotes that begins with "/", e.g. "/video"'),
  v.check(
    (value) => value.startsWith('/') && !/[?#%\\\s]/u.test(value),
    'a path prefix that begins with "/" and has no query, escapes or spaces, e.g. "/video"',
  ),
)

const upstreamUrl = v.pipe(
  v.string('an http:// address in quotes, e.g. "http://127.0.0.1:5001"'),
  v.check(
    (value) => isUpstreamUrl(value),
    'an http:// or https:// address without a query, e.g. "http://127.0.0.1:5001"',
  ),
)

function isUpstreamUrl(value: string): boolean {
  if (!URL.canParse(value)) return false
  const url = new URL(value)
  const isWeb = url.protocol === 'http:' || url.protocol === 'https:'
  return isWeb && url.search === '' && url.hash === '' && url.username === '' && url.password === ''
}

const host = v.pipe(
  v.string('a host name in quotes, e.g. "example.com" or "*.example.com"'),
  v.regex(
    /^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$|^\[[0-9a-f:.]+\]$/u,
    'a host name in lower case without a port, e.g. "example.com" or "*.example.com"',
  ),
)

const method = v.pipe(
  v.string('a method in quotes, e.g. "GET"'),
  v.regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/u, 'a method, e.g. "GET"'),
)

const fieldName = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9!#$%&'*+.^_`|~-]+$/u, 'the name of a field in lower case, e.g. "x-beta"'),
)

/** One address of a pool. */
const upstream = v.strictObject({
  url: upstreamUrl,
  /** Share of requests in comparison with the other addresses. */
  weight: v.optional(whole(1, 1_000, 'shares'), 1),
})

/** Asks each address for a path at intervals; an address that fails gets no requests until it is well. */
const health = v.strictObject({
  path: v.pipe(
    v.string('a path in quotes, e.g. "/healthz"'),
    v.startsWith('/', 'a path that begins with "/", e.g. "/healthz"'),
  ),
  interval_ms: milliseconds(50, 3_600_000, 5_000),
  timeout_ms: milliseconds(10, 600_000, 2_000),
  /** Good answers in a row that bring an address back. */
  healthy_after: v.optional(whole(1, 100, 'answers'), 2),
  /** Failures in a row that take an address out. */
  unhealthy_after: v.optional(whole(1, 100, 'failures'), 3),
  /** Answers from `status_min` to `status_max` are good. */
  status_min: v.optional(whole(100, 599, 'status'), 200),
  status_max: v.optional(whole(100, 599, 'status'), 399),
})

/** Takes an address out for a while when requests to it fail. The last addresses stay in. */
const outlier = v.strictObject({
  /** Failures in a row: no connection, no answer, a broken answer, 502, 503 or 504. */
  failures: v.optional(whole(1, 1_000, 'failures'), 5),
  /** Grows with each time in a row, at most tenfold. */
  ejection_ms: milliseconds(10, 3_600_000, 10_000),
  max_ejected_percent: v.optional(whole(0, 100, 'percent'), 50),
})

/** Repeats requests that were not answered, on another address where there is one. */
const retry = v.strictObject({
  /** Repetitions of one request; 0 = none. */
  attempts: v.optional(whole(0, 10, 'attempts'), 1),
  /** Answers of a service that are repeated too, for GET, HEAD, OPTIONS and TRACE without a body. */
  statuses: v.optional(v.array(whole(500, 599, 'status'), 'a list of statuses, e.g. [502, 503]'), []),
  /** Repetitions in 10 s, in percent of the requests in that time. */
  budget_percent: v.optional(whole(0, 100, 'percent'), 20),
  /** Repetitions in 10 s that are always allowed. */
  budget_min: v.optional(whole(0, 10_000, 'requests'), 32),
})

/** Stops asking a service that fails, and lets single requests try whether it is back. */
const breaker = v.strictObject({
  failure_percent: v.optional(whole(1, 100, 'percent'), 50),
  /** The share is looked at over this time… */
  window_ms: milliseconds(100, 3_600_000, 10_000),
  /** …once so many requests have been answered or have failed in it. */
  min_requests: v.optional(whole(1, 1_000_000, 'requests'), 20),
  open_ms: milliseconds(10, 3_600_000, 5_000),
})

export const service = v.strictObject({
  name: v.pipe(
    v.string('a short name in quotes, e.g. "video"'),
    v.regex(/^[A-Za-z0-9_-]{1,64}$/u, 'a name of letters, digits, "-" or "_", at most 64 characters'),
  ),
  prefix,
  /** Hosts that are served, `*.` for all names below; none = all. */
  hosts: v.optional(v.pipe(v.array(host, 'a list of host names'), v.maxLength(100, 'at most 100 host names')), []),
  /** Methods that are served; none = all. */
  methods: v.optional(v.pipe(v.array(method, 'a list of methods'), v.maxLength(32, 'at most 32 methods')), []),
  /** Fields that a request must have, with their values; "*" = any value. */
  headers: v.optional(v.record(fieldName, v.string('a value in quotes, or "*"'), 'a table of fields'), {}),
  /** The address of the service, or `upstreams` for several. */
  url: v.optional(upstreamUrl),
  upstreams: v.optional(
    v.pipe(v.array(upstream, 'a list of { url, weight }'), v.maxLength(256, 'at most 256 addresses')),
    [],
  ),
  /** What the service speaks. HTTP/2 without TLS needs prior knowledge; HTTP/3 needs https://. */
  protocol: v.optional(v.picklist(['http1', 'http2', 'http3'], '"http1", "http2" or "http3"'), 'http1'),
  /** PEM file with the authorities of https:// services; the system's when absent. */
  ca: v.optional(text('a file name in quotes, e.g. "ca.pem"')),
  /** False = any certificate of the service will do. */
  verify: flag(true),
  /** The name that the service's certificate must have; the host of its address when absent. */
  server_name: v.optional(text('a host name in quotes')),
  balance: v.optional(
    v.picklist(
      ['round-robin', 'least-connections', 'hash', 'random'],
      '"round-robin", "least-connections", "hash" or "random"',
    ),
    'round-robin',
  ),
  /** With `balance = "hash"`: requests of the same key go to the same address. */
  hash_key: v.optional(requestKey, 'address'),
  /** `video` adds jitter of chunk arrival to the metrics of this service's streams. */
  kind: v.optional(v.picklist(['video', 'text', 'control', 'other'], '"video", "text", "control" or "other"'), 'other'),
  /** Forward `/video/a` as `/a`. */
  strip_prefix: flag(false),
  /** The service may be asked for paths with `%2F` or `%5C`. */
  encoded_slashes: flag(false),
  /** Most kept connections to one address. */
  connections: v.optional(whole(1, 1024, 'connections'), 32),
  /** Requests at the service at once; further ones get 503. */
  max_requests: v.optional(whole(1, 1_000_000, 'requests'), 10_000),
  connect_timeout_ms: milliseconds(10, 600_000, 2_000),
  /** Silence before the response headers after which the client gets 504. */
  response_timeout_ms: milliseconds(10, 3_600_000, 10_000),
  /** Silence inside a response body after which the stream is reset. */
  body_timeout_ms: milliseconds(10, 3_600_000, 30_000),
  /** The whole exchange, 0 = no limit. */
  total_timeout_ms: milliseconds(0, 86_400_000, 0),
  /** Silence in both directions of a tunnel such as a WebSocket. */
  tunnel_timeout_ms: milliseconds(10, 86_400_000, 3_600_000),
  /** Larger request bodies get 413; 0 = no limit. */
  max_body_bytes: v.optional(whole(0, Number.MAX_SAFE_INTEGER, 'bytes'), 0),
  /** Takes safe requests as 0-RTT where `router.early_data` allows it; false: they wait for the handshake. */
  early_data: flag(true),
  health: v.optional(health),
  outlier: v.optional(outlier, {}),
  retry: v.optional(retry, {}),
  breaker: v.optional(breaker),
  rate_limit: v.optional(rateLimit),
})

export type ServiceConfig = v.InferOutput<typeof service>
export type ServiceKind = ServiceConfig['kind']
export type HealthConfig = v.InferOutput<typeof health>
export type OutlierConfig = v.InferOutput<typeof outlier>
export type RetryConfig = v.InferOutput<typeof retry>
export type BreakerConfig = v.InferOutput<typeof breaker>

/** All addresses of a service with their weights. */
export function upstreamsOf(config: ServiceConfig): readonly { readonly url: string; readonly weight: number }[] {
  return config.url === undefined ? config.upstreams : [{ url: config.url, weight: 1 }, ...config.upstreams]
}
