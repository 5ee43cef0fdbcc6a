/** Configuration of what operators use: admin endpoint, metrics, access log, traces, reload and shutdown. */
import { isIP } from 'node:net'
import * as v from 'valibot'

/** A place to listen on: a TCP address or a unix socket. */
export type ListenPlace =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }

/** Reads `127.0.0.1:9180`, `[::1]:9180`, `localhost:9180` or `unix:/run/quicether.sock`. Undefined for anything else. */
export function parseListenPlace(value: string): ListenPlace | undefined {
  if (value.startsWith('unix:')) return value.length > 5 ? { kind: 'unix', path: value.slice(5) } : undefined
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/u.exec(value)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535) return undefined
  if (match?.[1] !== undefined && isIP(host) !== 6) return undefined
  return { kind: 'tcp', host, port }
}

/** Whether only this machine reaches the place. */
export function isLoopback(place: ListenPlace): boolean {
  if (place.kind === 'unix') return true
  return place.host === 'localhost' || place.host === '::1' || (isIP(place.host) === 4 && place.host.startsWith('127.'))
}

const loopbackExpected =
  'a loopback address with its port, e.g. "127.0.0.1:9180", or a socket, e.g. "unix:/run/quicether/admin.sock"'
const placeExpected =
  'an address with its port, e.g. "0.0.0.0:9181", or a socket, e.g. "unix:/run/quicether/metrics.sock"'

const loopbackPlace = v.pipe(
  v.string(loopbackExpected),
  v.check((value) => {
    const place = parseListenPlace(value)
    return place !== undefined && isLoopback(place)
  }, loopbackExpected),
)

const anyPlace = v.pipe(
  v.string(placeExpected),
  v.check((value) => parseListenPlace(value) !== undefined, placeExpected),
)

const endpointExpected = 'the http:// or https:// address of an OTLP/HTTP receiver, e.g. "http://127.0.0.1:4318"'
const ratioExpected = 'a number from 0 to 1'
const fileExpected = 'a file name in quotes, e.g. "access.log", or "-" for standard output'
const headerExpected = 'header names and values in quotes, e.g. { authorization = "Bearer …" }'
const bool = 'true or false'

function whole(min: number, max: number, unit: string) {
  const expected = `a whole number from ${min} to ${max} (${unit})`
  return v.pipe(v.number(expected), v.integer(expected), v.minValue(min, expected), v.maxValue(max, expected))
}

const admin = v.strictObject({
  /** Off when absent. Whoever reaches it may drain and reload the router, so it is never open to other machines. */
  listen: v.optional(loopbackPlace),
  /** Serve the live page at `/`. */
  page: v.optional(v.boolean(bool), true),
})

const metrics = v.strictObject({
  /** A second listener with nothing but `/metrics`, `/healthz` and `/readyz`; may be open to a scraper elsewhere. */
  listen: v.optional(anyPlace),
})

const accessLog = v.strictObject({
  /** Off when absent. */
  file: v.optional(v.pipe(v.string(fileExpected), v.minLength(1, fileExpected))),
  /** Lines that wait for a slow disk; more are dropped and counted. */
  queue_lines: v.optional(whole(1, 1_000_000, 'lines'), 10_000),
  /** Log the query of a path, too. */
  query: v.optional(v.boolean(bool), true),
})

const traces = v.strictObject({
  /** Off when absent. `/v1/traces` is added to an address without a path. */
  endpoint: v.optional(
    v.pipe(
      v.string(endpointExpected),
      v.check((value) => URL.canParse(value) && /^https?:$/u.test(new URL(value).protocol), endpointExpected),
    ),
  ),
  service_name: v.optional(v.pipe(v.string('a name in quotes'), v.minLength(1, 'a name in quotes')), 'quicether'),
  /** Share of the requests without a `traceparent` that are traced; those with one are as it says. */
  sample_ratio: v.optional(
    v.pipe(v.number(ratioExpected), v.minValue(0, ratioExpected), v.maxValue(1, ratioExpected)),
    1,
  ),
  /** Sent with every export, e.g. for a collector that asks for a token. */
  headers: v.optional(
    v.record(
      v.pipe(v.string(headerExpected), v.regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/u, headerExpected)),
      v.pipe(v.string(headerExpected), v.regex(/^[\t\x20-\x7e]*$/u, headerExpected)),
      headerExpected,
    ),
    {},
  ),
})

const reload = v.strictObject({
  /** Look once a second whether the configuration, certificate or key file changed, and reload; SIGHUP always does. */
  watch: v.optional(v.boolean(bool), false),
})

const shutdown = v.strictObject({
  /** Running exchanges get this long to finish after SIGTERM. */
  drain_timeout_ms: v.optional(whole(0, 3_600_000, 'milliseconds'), 10_000),
})

/** Tables of the configuration file that are about operation. */
export const operationsEntries = {
  admin: v.optional(admin, {}),
  metrics: v.optional(metrics, {}),
  access_log: v.optional(accessLog, {}),
  traces: v.optional(traces, {}),
  reload: v.optional(reload, {}),
  shutdown: v.optional(shutdown, {}),
}

export type TracesConfig = v.InferOutput<typeof traces>
export type AccessLogConfig = v.InferOutput<typeof accessLog>
