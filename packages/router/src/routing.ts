/** Picks the service of a request: by host, then the longest path prefix, then fields and methods. */
import type { ServiceConfig } from './config/schema.ts'
import { hostOf, hostRank, type RouteRequest, takesHeaders, takesHost, takesMethod } from './routing/match.ts'
import { checkPath } from './routing/request-path.ts'

/** A request target split into what routing needs. */
export interface Route {
  readonly service: ServiceConfig
  /** Path and query to ask the service for. */
  readonly target: string
}

/** Why a request has no route, as the status and sentence the client gets. */
export interface NoRoute {
  readonly status: 400 | 404 | 405 | 421
  readonly kind: 'bad-path' | 'no-route' | 'method-not-allowed' | 'unknown-host'
  readonly message: string
  /** With 405: what is allowed (RFC 9110 §10.2.1). */
  readonly allow?: string
}

interface Entry {
  readonly prefix: string
  readonly service: ServiceConfig
  readonly conditions: number
}

/** Prefixes match whole segments: `/video` matches `/video` and `/video/a`, not `/videos`. */
export class RouteTable {
  readonly #entries: readonly Entry[]

  constructor(services: readonly ServiceConfig[]) {
    this.#entries = services
      .map((service) => ({
        prefix: service.prefix.replace(/\/+$/u, ''),
        service,
        conditions: Object.keys(service.headers).length * 2 + (service.methods.length > 0 ? 1 : 0),
      }))
      .sort((a, b) => b.prefix.length - a.prefix.length || b.conditions - a.conditions)
  }

  /** `path` is `:path` of the request, query included. */
  find(path: string, request: RouteRequest): Route | NoRoute {
    const checked = checkPath(path)
    if ('problem' in checked) return { status: 400, kind: 'bad-path', message: checked.problem }
    const host = hostOf(request.authority)
    let best: Entry | undefined
    let bestRank = -1
    let isHostKnown = false
    const allowed = new Set<string>()
    for (const entry of this.#entries) {
      const { service } = entry
      if (!takesHost(service, host)) continue
      isHostKnown = true
      if (!isUnder(checked.bare, entry.prefix) || !takesHeaders(service, request.headers)) continue
      if (!takesMethod(service, request.method)) {
        for (const method of service.methods) allowed.add(method)
        continue
      }
      const rank = hostRank(service, host)
      // Entries are in order of prefix and conditions: only a better host may overtake an earlier one.
      if (rank > bestRank) [best, bestRank] = [entry, rank]
    }
    if (best !== undefined) {
      if (checked.hasEncodedSlash === true && !best.service.encoded_slashes) {
        return { status: 400, kind: 'bad-path', message: 'the path has an escaped "/" or "\\"' }
      }
      return { service: best.service, target: targetOf(best, checked.target) }
    }
    return this.#refusal(checked.bare, host, isHostKnown, allowed)
  }

  /** Prefixes in the order they are tried. */
  prefixes(): string[] {
    return [...new Set(this.#entries.map(({ prefix }) => (prefix === '' ? '/' : prefix)))]
  }

  #refusal(bare: string, host: string, isHostKnown: boolean, allowed: ReadonlySet<string>): NoRoute {
    if (allowed.size > 0) {
      const allow = [...allowed].sort().join(', ')
      return { status: 405, kind: 'method-not-allowed', message: `allowed here: ${allow}`, allow }
    }
    if (!isHostKnown) {
      // RFC 9110 §15.5.20: the request was sent to a server that gives no answers for this authority.
      return { status: 421, kind: 'unknown-host', message: `no service is routed for the host "${host.slice(0, 200)}"` }
    }
    const routed = this.prefixes().join(', ')
    return {
      status: 404,
      kind: 'no-route',
      message: `no service is routed at ${bare.slice(0, 200)}; routed: ${routed.slice(0, 1_000)}`,
    }
  }
}

function isUnder(bare: string, prefix: string): boolean {
  return bare.startsWith(prefix) && (bare.length === prefix.length || bare[prefix.length] === '/')
}

function targetOf(entry: Entry, target: string): string {
  if (!entry.service.strip_prefix) return target
  const rest = target.slice(entry.prefix.length)
  return rest.startsWith('/') ? rest : `/${rest}`
}
