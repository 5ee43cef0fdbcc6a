/** Picks the service of a request by the longest configured path prefix. */
import type { ServiceConfig } from './config/schema.ts'

/** A request target split into what routing needs. */
export interface Route {
  readonly service: ServiceConfig
  /** Path and query to ask the service for. */
  readonly target: string
}

/** Prefixes match whole segments: `/video` matches `/video` and `/video/a`, not `/videos`. */
export class RouteTable {
  readonly #services: readonly { readonly prefix: string; readonly service: ServiceConfig }[]

  constructor(services: readonly ServiceConfig[]) {
    this.#services = services
      .map((service) => ({ prefix: service.prefix.replace(/\/+$/u, ''), service }))
      .sort((a, b) => b.prefix.length - a.prefix.length)
  }

  /** `path` is `:path` of the request, query included. Undefined when no prefix matches. */
  find(path: string): Route | undefined {
    if (!path.startsWith('/')) return undefined
    const queryAt = path.indexOf('?')
    const bare = queryAt < 0 ? path : path.slice(0, queryAt)
    // A path with dot segments could leave its prefix at the service; it has no route.
    if (hasDotSegment(bare)) return undefined
    for (const { prefix, service } of this.#services) {
      if (!bare.startsWith(prefix)) continue
      if (bare.length > prefix.length && bare[prefix.length] !== '/') continue
      if (!service.strip_prefix) return { service, target: path }
      const rest = path.slice(prefix.length)
      return { service, target: rest.startsWith('/') ? rest : `/${rest}` }
    }
    return undefined
  }

  /** Prefixes in the order they are tried. */
  prefixes(): string[] {
    return this.#services.map(({ prefix }) => (prefix === '' ? '/' : prefix))
  }
}

function hasDotSegment(path: string): boolean {
  return path.split('/').some((segment) => /^(?:\.|%2e){1,2}$/iu.test(segment))
}
