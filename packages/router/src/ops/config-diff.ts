/** What differs between the configuration that serves and another one, setting by setting. */
import type { RouterConfig } from '../config/schema.ts'

export interface ConfigChange {
  /** E.g. `service.text.url`; items of a list are named by their `name`. */
  readonly key: string
  /** As JSON; null = not there before. */
  readonly before: string | null
  /** As JSON; null = not there any more. */
  readonly after: string | null
  /** A reload leaves this setting as it is. */
  readonly needsRestart: boolean
}

/** Tables that are read at the start only. */
const startTables = new Set(['results', 'diagnostics', 'admin', 'metrics'])
/** Settings of `[router]` that are read at the start only: they are about the listener and its transport. */
const startRouterKeys = new Set([
  ...['host', 'port', 'idle_timeout_ms', 'early_data', 'max_streams'],
  ...['tcp', 'alt_svc_seconds', 'header_timeout_ms', 'max_header_bytes'],
])
/** Tables that are not about routing: a change of them leaves the services' connections alone. */
const observerTables = new Set(['access_log', 'traces', 'reload', 'shutdown'])
const certificateKeys = new Set(['certificate', 'router.certificate', 'router.private_key'])
const secretKeys = /^traces\.headers\./u
const listLimit = 1_000

/** Changes in the order of their keys. */
export function diffConfig(before: RouterConfig, after: RouterConfig): ConfigChange[] {
  const [old, now] = [flatten(before), flatten(after)]
  const keys = [...new Set([...old.keys(), ...now.keys()])].sort()
  const changes: ConfigChange[] = []
  for (const key of keys) {
    const [from, to] = [old.get(key), now.get(key)]
    if (from === to || changes.length >= listLimit) continue
    const hidden = secretKeys.test(key)
    changes.push({
      key,
      before: from === undefined ? null : hidden ? '"…"' : from,
      after: to === undefined ? null : hidden ? '"…"' : to,
      needsRestart: needsRestart(key),
    })
  }
  return changes
}

/** The configuration after a reload: what is reloadable from `next`, the rest as it runs. */
export function mergeReloadable(running: RouterConfig, next: RouterConfig): RouterConfig {
  const merged: Record<string, unknown> = { ...running }
  for (const [table, value] of Object.entries(next)) if (!startTables.has(table)) merged[table] = value
  const router: Record<string, unknown> = { ...next.router }
  for (const key of startRouterKeys) router[key] = Reflect.get(running.router, key)
  return { ...merged, router } as unknown as RouterConfig
}

/** Whether the changes concern how requests are routed and sent on. */
export function touchesRouting(changes: readonly ConfigChange[]): boolean {
  return changes.some(
    ({ key, needsRestart }) => !needsRestart && !certificateKeys.has(key) && !observerTables.has(tableOf(key)),
  )
}

/** One line per change for logs and terminals. */
export function changeLine(change: ConfigChange): string {
  const restart = change.needsRestart ? ' (needs a restart)' : ''
  if (change.before === null) return `+ ${change.key} = ${change.after}${restart}`
  if (change.after === null) return `- ${change.key} = ${change.before}${restart}`
  return `~ ${change.key}: ${change.before} -> ${change.after}${restart}`
}

/** A copy for display: values that may be secrets are replaced. */
export function withoutSecrets(config: RouterConfig): RouterConfig {
  const headers = Object.fromEntries(Object.keys(config.traces.headers).map((name) => [name, '…']))
  return { ...config, traces: { ...config.traces, headers } }
}

function needsRestart(key: string): boolean {
  const [table = '', name = ''] = key.split('.')
  return startTables.has(table) || (table === 'router' && startRouterKeys.has(name))
}

function tableOf(key: string): string {
  return key.split('.')[0] ?? ''
}

/** Leaves by dotted key, as JSON. */
function flatten(value: unknown): Map<string, string> {
  const leaves = new Map<string, string>()
  walk(value, '', leaves)
  return leaves
}

function walk(value: unknown, key: string, leaves: Map<string, string>): void {
  if (typeof value !== 'object' || value === null) {
    if (value !== undefined) leaves.set(key, JSON.stringify(value))
    return
  }
  const isList = Array.isArray(value)
  if (isList && value.every((item) => typeof item !== 'object')) {
    leaves.set(key, JSON.stringify(value))
    return
  }
  for (const [name, item] of Object.entries(value)) {
    const label = isList ? (itemName(item) ?? name) : name
    walk(item, key === '' ? label : `${key}.${label}`, leaves)
  }
}

function itemName(item: unknown): string | undefined {
  const name: unknown = typeof item === 'object' && item !== null ? Reflect.get(item, 'name') : undefined
  return typeof name === 'string' ? name : undefined
}
