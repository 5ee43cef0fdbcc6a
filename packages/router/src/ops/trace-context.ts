/** W3C Trace Context: reads `traceparent`, decides about sampling, writes the field for the service. */
import { randomBytes } from 'node:crypto'
import type { HeaderList } from '../exchange.ts'

/** A request's place in a trace. Identifiers are lower-case hex. */
export interface RequestTrace {
  readonly traceId: string
  /** Span of the client, when it sent one. */
  readonly parentSpanId: string | undefined
  /** Our span of the whole exchange. */
  readonly serverSpanId: string
  /** Our span of the request to the service; the service's spans are its children. */
  readonly clientSpanId: string
  readonly isSampled: boolean
  readonly traceState: string | undefined
}

export interface TraceParent {
  readonly traceId: string
  readonly spanId: string
  readonly isSampled: boolean
}

const traceStateCharactersMax = 512

/** Undefined when it is not valid; then a trace of our own begins. */
export function parseTraceParent(value: string): TraceParent | undefined {
  // W3C Trace Context §3.2: version 00 has exactly four fields; later ones may add fields after another dash.
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/u.exec(value)
  if (match === null) return undefined
  const [, version = '', traceId = '', spanId = '', flags = '', rest] = match
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined
  if (/^0+$/u.test(traceId) || /^0+$/u.test(spanId)) return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** The trace that a request belongs to: the client's, or a new one of which `sampleRatio` are sampled. */
export function beginTrace(headers: HeaderList, sampleRatio: number): RequestTrace {
  const values = headers.filter(([name]) => name === 'traceparent')
  const parent = values.length === 1 ? parseTraceParent(values[0]?.[1] ?? '') : undefined
  const ids = randomBytes(32)
  const traceId = parent?.traceId ?? ids.toString('hex', 0, 16)
  return {
    traceId,
    parentSpanId: parent?.spanId,
    serverSpanId: ids.toString('hex', 16, 24),
    clientSpanId: ids.toString('hex', 24, 32),
    isSampled: parent?.isSampled ?? isChosen(traceId, sampleRatio),
    traceState: parent === undefined ? undefined : traceState(headers),
  }
}

/** The header fields of the request as its service shall see them. */
export function withTrace(headers: HeaderList, trace: RequestTrace): HeaderList {
  const others = headers.filter(([name]) => name !== 'traceparent' && name !== 'tracestate')
  const flags = trace.isSampled ? '01' : '00'
  const traceParent = ['traceparent', `00-${trace.traceId}-${trace.clientSpanId}-${flags}`] as const
  if (trace.traceState === undefined) return [...others, traceParent]
  return [...others, traceParent, ['tracestate', trace.traceState]]
}

/** Decided by the identifier, so that all who see the trace decide alike. */
function isChosen(traceId: string, ratio: number): boolean {
  return Number.parseInt(traceId.slice(18), 16) / 2 ** 56 < ratio
}

/** W3C Trace Context §3.3.1.5: at least 512 characters are passed on; a longer list loses whole entries at its end. */
function traceState(headers: HeaderList): string | undefined {
  const entries = headers
    .filter(([name]) => name === 'tracestate')
    .flatMap(([, value]) => value.split(','))
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
  while (entries.join(',').length > traceStateCharactersMax) entries.pop()
  return entries.length === 0 ? undefined : entries.join(',')
}
