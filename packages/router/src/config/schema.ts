/** The router's configuration: its shape, bounds and defaults in one place. */
import * as v from 'valibot'
import { operationsEntries } from './operations-schema.ts'

/** Where `quicether services` listens unless told otherwise. */
export const demoPorts = { video: 5001, text: 5002, control: 5003 } as const

const port = v.pipe(
  v.number('a port number from 0 to 65535'),
  v.integer('a whole port number from 0 to 65535'),
  v.minValue(0, 'a port number from 0 to 65535'),
  v.maxValue(65_535, 'a port number from 0 to 65535'),
)

/** A whole number within bounds; the message is what a reader of the error should write instead. */
function whole(min: number, max: number, unit: string) {
  const expected = `a whole number from ${min} to ${max} (${unit})`
  return v.pipe(v.number(expected), v.integer(expected), v.minValue(min, expected), v.maxValue(max, expected))
}

function text(expected: string) {
  return v.pipe(v.string(expected), v.minLength(1, expected))
}

const prefix = v.pipe(
  v.string('a path prefix in quotes that begins with "/", e.g. "/video"'),
  v.check(
    (value) => value.startsWith('/') && !/[?#\s]/u.test(value),
    'a path prefix that begins with "/" and has no query or spaces, e.g. "/video"',
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
  return (url.protocol === 'http:' || url.protocol === 'https:') && url.search === '' && url.hash === ''
}

const service = v.strictObject({
  name: v.pipe(
    v.string('a short name in quotes, e.g. "video"'),
    v.regex(/^[A-Za-z0-9_-]{1,64}$/u, 'a name of letters, digits, "-" or "_", at most 64 characters'),
  ),
  prefix,
  url: upstreamUrl,
  /** `video` adds jitter of chunk arrival to the metrics of this service's streams. */
  kind: v.optional(v.picklist(['video', 'text', 'control', 'other'], '"video", "text", "control" or "other"'), 'other'),
  /** Forward `/video/a` as `/a`. */
  strip_prefix: v.optional(v.boolean('true or false'), false),
  /** Most keep-alive connections to this service. */
  connections: v.optional(whole(1, 1024, 'connections'), 32),
  connect_timeout_ms: v.optional(whole(10, 600_000, 'milliseconds'), 2_000),
  /** Silence before the response headers after which the client gets 504. */
  response_timeout_ms: v.optional(whole(10, 3_600_000, 'milliseconds'), 10_000),
  /** Silence inside a response body after which the stream is reset. */
  body_timeout_ms: v.optional(whole(10, 3_600_000, 'milliseconds'), 30_000),
})

const router = v.strictObject({
  host: v.optional(text('an address or host name in quotes, e.g. "127.0.0.1"'), '127.0.0.1'),
  port: v.optional(port, 4433),
  /** PEM file with the certificate chain; self-made when absent. */
  certificate: v.optional(text('a file name in quotes, e.g. "cert.pem"')),
  private_key: v.optional(text('a file name in quotes, e.g. "key.pem"')),
  idle_timeout_ms: v.optional(whole(100, 3_600_000, 'milliseconds'), 5_000),
  /** Accept 0-RTT: safe requests reach their service before the handshake is complete, marked `early-data: 1`. */
  early_data: v.optional(v.boolean('true or false'), false),
  /** Request streams that one client may have open at once. */
  max_streams: v.optional(whole(1, 65_536, 'streams'), 256),
})

const results = v.strictObject({
  directory: v.optional(text('a directory name in quotes, e.g. "results"'), 'results'),
  interval_ms: v.optional(whole(100, 86_400_000, 'milliseconds'), 60_000),
  /** Streams kept with all detail in one run; older ones stay in the totals only. */
  streams_kept: v.optional(whole(1, 100_000, 'streams'), 2_000),
})

const diagnostics = v.strictObject({
  keylog: v.optional(text('a file name in quotes, e.g. "keys.log"')),
  qlog: v.optional(text('a directory name in quotes, e.g. "qlog"')),
  capture: v.optional(text('a file name in quotes, e.g. "router.pcapng"')),
})

/** Everything a configuration file may hold; unknown names are errors. */
export const configSchema = v.strictObject({
  router: v.optional(router, {}),
  results: v.optional(results, {}),
  diagnostics: v.optional(diagnostics, {}),
  ...operationsEntries,
  service: v.optional(v.array(service, 'one or more [[service]] tables'), demoServices()),
})

export type RouterConfig = v.InferOutput<typeof configSchema>
export type ServiceConfig = RouterConfig['service'][number]
export type ServiceKind = ServiceConfig['kind']

/** The three demo services on their default ports: what the router forwards to without a configuration. */
export function demoServices(ports: { video: number; text: number; control: number } = demoPorts) {
  return (['video', 'text', 'control'] as const).map((name) => ({
    name,
    prefix: `/${name}`,
    url: `http://127.0.0.1:${ports[name]}`,
    kind: name,
  }))
}
