/** The router's configuration: its shape, bounds and defaults in one place. */
import * as v from 'valibot'
import { service } from './service-schema.ts'
import { addressRange, flag, milliseconds, port, rateLimit, text, whole } from './values.ts'
import { operationsEntries } from './operations-schema.ts'

/** Where `quicether services` listens unless told otherwise. */
export const demoPorts = { video: 5001, text: 5002, control: 5003 } as const

const router = v.strictObject({
  host: v.optional(text('an address or host name in quotes, e.g. "127.0.0.1"'), '127.0.0.1'),
  port: v.optional(port, 4433),
  /** PEM file with the certificate chain; self-made when absent. */
  certificate: v.optional(text('a file name in quotes, e.g. "cert.pem"')),
  private_key: v.optional(text('a file name in quotes, e.g. "key.pem"')),
  idle_timeout_ms: milliseconds(100, 3_600_000, 5_000),
  /** Accept 0-RTT: safe requests reach their service before the handshake is complete, marked `early-data: 1`. */
  early_data: flag(false),
  /** Request streams that one client may have open at once. */
  max_streams: v.optional(whole(1, 65_536, 'streams'), 256),
  /** Also HTTP/1.1 and HTTP/2 over TLS on the TCP port of the same number, with Alt-Svc, so that browsers find HTTP/3. */
  tcp: flag(false),
  /** How long browsers remember that there is HTTP/3, in seconds (RFC 7838 "ma"). */
  alt_svc_seconds: v.optional(whole(1, 31_536_000, 'seconds'), 86_400),
  /** A request that has not sent its header section by then is reset. */
  header_timeout_ms: milliseconds(100, 600_000, 10_000),
  /** Silence of the client inside a request body, or while it does not take its response; then the stream is reset. */
  client_timeout_ms: milliseconds(100, 3_600_000, 30_000),
  /** Larger header sections get 431. */
  max_header_bytes: v.optional(whole(1_024, 1_048_576, 'bytes'), 65_536),
  /** Addresses of proxies in front whose X-Forwarded-For and Forwarded are believed. */
  trusted_proxies: v.optional(v.array(addressRange, 'a list of addresses'), []),
  /** What tells services about the client: "x-forwarded", "forwarded" (RFC 7239) or "both". */
  forwarding: v.optional(
    v.picklist(['x-forwarded', 'forwarded', 'both'], '"x-forwarded", "forwarded" or "both"'),
    'x-forwarded',
  ),
  /** For all services together. */
  rate_limit: v.optional(rateLimit),
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
export type { ServiceConfig, ServiceKind } from './service-schema.ts'

/** The three demo services on their default ports: what the router forwards to without a configuration. */
export function demoServices(ports: { video: number; text: number; control: number } = demoPorts) {
  return (['video', 'text', 'control'] as const).map((name) => ({
    name,
    prefix: `/${name}`,
    url: `http://127.0.0.1:${ports[name]}`,
    kind: name,
  }))
}
