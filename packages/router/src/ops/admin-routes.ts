/** The paths of the admin endpoint and of the metrics listener. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { prometheusContentType } from '../metrics/prometheus-text.ts'
import type { PageAssets } from '../page/assets.ts'
import { type AdminHandler, sendJson, sendText } from './admin-server.ts'
import type { LiveFeed } from './live-feed.ts'
import type { Panel } from './panel.ts'

type Action = (response: ServerResponse, request: IncomingMessage) => void | Promise<void>
type Routes = Readonly<Record<string, { readonly GET?: Action; readonly POST?: Action }>>

/** What the public paths show. */
export interface MetricsSource {
  readonly isDraining: boolean
  metrics(): string | Promise<string>
}

/** `/metrics`, `/healthz` and `/readyz`: what may be open to other machines. */
export function metricsHandler(source: MetricsSource): AdminHandler {
  const routes = publicRoutes(source)
  return (request, response, path) => dispatch(routes, request, response, path)
}

/** Everything; `page` absent = no live page. */
export function adminHandler(panel: Panel, feed: LiveFeed, page: PageAssets | undefined): AdminHandler {
  const show =
    (document: () => unknown): Action =>
    (response) =>
      sendJson(response, 200, document())
  const routes: Routes = {
    ...publicRoutes(panel),
    '/api/status': { GET: show(() => panel.status()) },
    '/api/config': { GET: show(() => panel.config()) },
    '/api/connections': { GET: show(() => panel.connections()) },
    '/api/streams': { GET: show(() => panel.streams()) },
    '/api/services': { GET: show(() => panel.services()) },
    '/api/events': {
      GET: (response) => {
        if (!feed.add(response)) sendJson(response, 503, { error: 'too many watch already' })
      },
    },
    '/api/drain': {
      POST: (response) => {
        panel.drain()
        sendJson(response, 202, { state: 'draining' })
      },
    },
    '/api/reopen-logs': {
      POST: (response) => {
        panel.reopenLogs()
        sendJson(response, 202, { state: 'reopening' })
      },
    },
    '/api/reload': {
      POST: async (response, request) => {
        const isDryRun = /[?&]dry-run(?:=(?:1|true))?(?:&|$)/u.test(request.url ?? '')
        const result = await panel.reload(isDryRun)
        sendJson(response, result.error === null ? 200 : 422, result)
      },
    },
  }
  return (request, response, path) => {
    const close = /^\/api\/connections\/(\d{1,15})\/close$/u.exec(path)
    if (close !== null) return dispatch(closeRoute(panel, Number(close[1])), request, response, 'close')
    if (page?.serve(request, response, path) === true) return undefined
    return dispatch(routes, request, response, path)
  }
}

function publicRoutes(source: MetricsSource): Routes {
  return {
    '/metrics': { GET: async (response) => sendText(response, 200, prometheusContentType, await source.metrics()) },
    '/healthz': { GET: (response) => sendText(response, 200, 'text/plain; charset=utf-8', 'ok\n') },
    '/readyz': {
      GET: (response) => {
        const { isDraining } = source
        sendText(response, isDraining ? 503 : 200, 'text/plain; charset=utf-8', isDraining ? 'draining\n' : 'ok\n')
      },
    },
  }
}

function closeRoute(panel: Panel, id: number): Routes {
  return {
    close: {
      POST: (response) => {
        if (panel.closeConnection(id)) sendJson(response, 202, { state: 'closing' })
        else sendJson(response, 404, { error: `there is no open connection ${id}` })
      },
    },
  }
}

function dispatch(
  routes: Routes,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
): void | Promise<void> {
  // Bodies mean nothing here.
  request.resume()
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined
  if (route === undefined) {
    const known = Object.keys(routes).join(' ')
    return sendJson(response, 404, { error: `there is nothing at ${path.slice(0, 100)}; there is: ${known}` })
  }
  const method = request.method === 'HEAD' ? 'GET' : request.method
  const action = method === 'GET' || method === 'POST' ? route[method] : undefined
  if (action !== undefined) return action(response, request)
  const allowed = Object.keys(route).join(', ')
  response.setHeader('allow', allowed)
  return sendJson(response, 405, { error: `${request.method} is not possible here; possible: ${allowed}` })
}
