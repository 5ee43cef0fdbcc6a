/** Field lines on their way through the router: hop-by-hop fields end here, forwarding fields are added. */
import type { HeaderList } from '../exchange.ts'

/** RFC 9110 §7.6.1: fields that belong to one hop. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
])

/** Trailers must not change framing, routing or authentication (RFC 9110 §6.5.1). */
const neverTrailer = new Set([
  'content-length',
  'content-type',
  'content-encoding',
  'host',
  'authorization',
  'set-cookie',
  'cache-control',
])

/** Header lines towards the service, as undici takes them: name, value, name, value… */
export function requestHeaders(
  headers: HeaderList,
  hop: { readonly authority: string; readonly remote: string; readonly hasBody: boolean },
): string[] {
  const result: string[] = []
  const dropped = connectionOptions(headers)
  const cookies: string[] = []
  let forwardedFor = ''
  for (const [name, value] of headers) {
    if (name.startsWith(':') || hopByHop.has(name) || dropped.has(name)) continue
    if (name === 'host' || name === 'x-forwarded-proto' || name === 'x-forwarded-host') continue
    if (name === 'content-length' && !hop.hasBody) continue
    // RFC 9114 §4.2.1: cookie lines are joined with "; " before they reach an HTTP/1.1 hop.
    if (name === 'cookie') cookies.push(value)
    else if (name === 'x-forwarded-for') forwardedFor = forwardedFor === '' ? value : `${forwardedFor}, ${value}`
    else result.push(name, value)
  }
  if (cookies.length > 0) result.push('cookie', cookies.join('; '))
  result.push('host', hop.authority)
  result.push('x-forwarded-for', forwardedFor === '' ? hop.remote : `${forwardedFor}, ${hop.remote}`)
  result.push('x-forwarded-proto', 'https', 'x-forwarded-host', hop.authority)
  // RFC 9110 §7.6.3: an intermediary names itself and the protocol it received.
  result.push('via', '3 quicether')
  return result
}

/** Field lines from the service, as they go to the client. */
export function responseHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): [string, string][] {
  const lines = flatten(headers)
  const dropped = connectionOptions(lines)
  const result = lines.filter(([name]) => !hopByHop.has(name) && !dropped.has(name))
  result.push(['via', '1.1 quicether'])
  return result
}

/** Trailer lines from the service that may go on. */
export function responseTrailers(
  trailers: Readonly<Record<string, string | string[] | undefined>>,
): [string, string][] {
  return flatten(trailers).filter(([name]) => !hopByHop.has(name) && !neverTrailer.has(name))
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): [string, string][] {
  const result: [string, string][] = []
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue
    for (const single of Array.isArray(value) ? value : [value]) result.push([name.toLowerCase(), single])
  }
  return result
}

/** RFC 9110 §7.6.1: names listed in Connection are hop-by-hop too. */
function connectionOptions(headers: HeaderList): Set<string> {
  const names = new Set<string>()
  for (const [name, value] of headers) {
    if (name !== 'connection') continue
    for (const option of value.split(',')) names.add(option.trim().toLowerCase())
  }
  return names
}
