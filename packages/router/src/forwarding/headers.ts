/** Field lines on their way through the router: hop-by-hop fields end here, forwarding fields are added. */
import type { HeaderList } from '../exchange.ts'
import type { ClientAddress } from './client-address.ts'

/** RFC 9110 §7.6.1: fields that belong to one hop. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'expect',
  'http2-settings',
])

/** Statements about the client that only a trusted proxy may make. */
const forwardingFields: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-real-ip',
])

/** Trailers must not change framing, routing or authentication (RFC 9110 §6.5.1). */
const neverTrailer: ReadonlySet<string> = new Set([
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'host',
  'authorization',
  'set-cookie',
  'cache-control',
  'trailer',
  'early-data',
])

/** What a request has come over. */
export interface Hop {
  readonly authority: string
  readonly client: ClientAddress
  readonly version: '1.1' | '2' | '3'
  readonly hasBody: boolean
  readonly forwarding: 'x-forwarded' | 'forwarded' | 'both'
  /** The service may be told that trailers are welcome: it speaks HTTP/2 or HTTP/3. */
  readonly mayTellTe: boolean
}

/** Header lines towards the service; Host is not among them. */
export function requestHeaders(headers: HeaderList, hop: Hop): [string, string][] {
  const result: [string, string][] = []
  const dropped = connectionOptions(headers)
  let wantsTrailers = false
  for (const [name, value] of headers) {
    if (name === 'te') wantsTrailers ||= /(?:^|,)\s*trailers\s*(?:,|$)/iu.test(value)
    if (name.startsWith(':') || name === 'host' || hopByHop.has(name) || dropped.has(name)) continue
    if (forwardingFields.has(name)) continue
    if (name === 'content-length' && !hop.hasBody) continue
    result.push([name, value])
  }
  if (wantsTrailers && hop.mayTellTe) result.push(['te', 'trailers'])
  if (hop.forwarding !== 'forwarded') addXForwarded(result, headers, hop)
  if (hop.forwarding !== 'x-forwarded') addForwarded(result, headers, hop)
  // RFC 9110 §7.6.3: an intermediary names itself and the protocol it received.
  result.push(['via', `${hop.version} quicether`])
  return result
}

/** Field lines from the service, as they go to the client. `version` is what the service speaks. */
export function responseHeaders(headers: HeaderList, version: '1.1' | '2' | '3' = '1.1'): [string, string][] {
  const dropped = connectionOptions(headers)
  const result: [string, string][] = []
  for (const [name, value] of headers) {
    if (!name.startsWith(':') && !hopByHop.has(name) && !dropped.has(name)) result.push([name, value])
  }
  result.push(['via', `${version} quicether`])
  return result
}

/** Trailer lines that may go on, in either direction. */
export function passedTrailers(trailers: HeaderList): [string, string][] {
  const result: [string, string][] = []
  for (const [name, value] of trailers) {
    if (!name.startsWith(':') && !hopByHop.has(name) && !neverTrailer.has(name) && !forwardingFields.has(name)) {
      result.push([name, value])
    }
  }
  return result
}

function addXForwarded(result: [string, string][], headers: HeaderList, hop: Hop): void {
  const { peer, isTrusted } = hop.client
  const before = isTrusted ? all(headers, 'x-forwarded-for') : ''
  result.push(['x-forwarded-for', before === '' ? peer : `${before}, ${peer}`])
  result.push(['x-forwarded-proto', (isTrusted && all(headers, 'x-forwarded-proto')) || 'https'])
  result.push(['x-forwarded-host', (isTrusted && all(headers, 'x-forwarded-host')) || hop.authority])
}

/** RFC 7239 §4 */
function addForwarded(result: [string, string][], headers: HeaderList, hop: Hop): void {
  const { peer, isTrusted } = hop.client
  const node = peer.includes(':') ? `"[${peer}]"` : peer
  const host = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/u.test(hop.authority)
    ? hop.authority
    : `"${hop.authority.replaceAll(/["\\]/gu, '\\$&')}"`
  const element = `for=${node};host=${host};proto=https`
  const before = isTrusted ? all(headers, 'forwarded') : ''
  result.push(['forwarded', before === '' ? element : `${before}, ${element}`])
}

function all(headers: HeaderList, name: string): string {
  let joined = ''
  for (const [key, value] of headers) if (key === name) joined = joined === '' ? value : `${joined}, ${value}`
  return joined
}

/** RFC 9110 §7.6.1: names listed in Connection are hop-by-hop too. */
function connectionOptions(headers: HeaderList): ReadonlySet<string> {
  let names: Set<string> | undefined
  for (const [name, value] of headers) {
    if (name !== 'connection') continue
    names ??= new Set()
    for (const option of value.split(',')) names.add(option.trim().toLowerCase())
  }
  return names ?? none
}

const none: ReadonlySet<string> = new Set()
