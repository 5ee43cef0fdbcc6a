/** Whether one service's conditions hold for a request, and which of two services is the more specific. */
import type { ServiceConfig } from '../config/schema.ts'
import type { HeaderList } from '../exchange.ts'

/** What a route may look at. */
export interface RouteRequest {
  readonly method: string
  /** `:authority` or Host, port included. */
  readonly authority: string
  readonly headers: HeaderList
}

/** Host of an authority: without port, in lower case, without a final dot; IPv6 in brackets. */
export function hostOf(authority: string): string {
  const end = authority.startsWith('[') ? authority.indexOf(']') + 1 : authority.indexOf(':')
  const host = end <= 0 ? authority : authority.slice(0, end)
  return host.toLowerCase().replace(/\.$/u, '')
}

/** `pattern` is a name, or `*.` and a name: the wildcard stands for one or more labels. */
export function matchesHost(pattern: string, host: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === host
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1))
}

/** An empty list of hosts takes every host. */
export function takesHost(service: ServiceConfig, host: string): boolean {
  return service.hosts.length === 0 || service.hosts.some((pattern) => matchesHost(pattern, host))
}

/** An empty list of methods takes every method. */
export function takesMethod(service: ServiceConfig, method: string): boolean {
  return service.methods.length === 0 || service.methods.includes(method)
}

/** Every named field must be there with the given value; "*" = any value. */
export function takesHeaders(service: ServiceConfig, headers: HeaderList): boolean {
  for (const [name, wanted] of Object.entries(service.headers)) {
    const isMet = headers.some(([key, value]) => key === name && (wanted === '*' || value === wanted))
    if (!isMet) return false
  }
  return true
}

/** How tightly a service binds hosts for `host`: exact name, then the longest wildcard, then any. */
export function hostRank(service: ServiceConfig, host: string): number {
  let best = 0
  for (const pattern of service.hosts) {
    if (!matchesHost(pattern, host)) continue
    best = Math.max(best, pattern.startsWith('*.') ? pattern.length : 1_000)
  }
  return best
}
