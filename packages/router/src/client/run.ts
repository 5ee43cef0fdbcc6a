/** Runs the client's tasks over parallel streams of one connection and measures each of them. */
import type { StreamStats } from '@quicether/transport'
import { describeClose, noCounters } from '../metrics/connection-metrics.ts'
import { round } from '../metrics/distribution.ts'
import type { Traffic } from '../metrics/document.ts'
import type { ClientConnection, Established } from '../ports.ts'
import { printable } from '../printable.ts'
import { messageOf } from '../user-error.ts'
import { type ClientTask, type PlanOptions, planRound } from './plan.ts'

export interface ClientRunOptions extends PlanOptions {
  /** Streams open at once. */
  readonly concurrency: number
  /** Rounds over the same connection. */
  readonly repeat: number
  /** Called as each stream ends. */
  readonly onStream?: (stream: ClientStream) => void
}

/** One request as the client saw it. */
export interface ClientStream {
  readonly round: number
  readonly stream: number | null
  readonly service: string
  readonly task: string
  readonly status: number | null
  /** The answer is complete and right. */
  readonly isRight: boolean
  readonly note: string
  readonly requestBytes: number
  readonly responseBytes: number
  /** From the start of the run to the call. */
  readonly startMs: number
  /** From the call to the head of the answer. */
  readonly headMs: number | null
  readonly durationMs: number
  readonly throughputBytesPerSecond: number
  readonly jitterMs: number | null
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly retransmissions: number
}

/** What `quicether client --json` prints. */
export interface ClientReport {
  readonly connection: Traffic & {
    readonly remote: string
    readonly handshake: '0-RTT' | '1-RTT'
    readonly resumed: boolean
    readonly establishmentMs: number
    readonly smoothedRttMs: number | null
  }
  readonly streams: readonly ClientStream[]
  readonly right: number
  readonly wrong: number
  /** Most streams open at once. */
  readonly maxConcurrentStreams: number
  readonly durationMs: number
}

/** Runs all rounds. A failed stream is a row with the reason; only a lost connection ends the run early. */
export async function runClient(connection: ClientConnection, options: ClientRunOptions): Promise<ClientReport> {
  const startMs = performance.now()
  const streams: ClientStream[] = []
  const gauge = { open: 0, max: 0 }
  let lost: string | undefined
  void connection.closed.then((reason) => {
    lost = describeClose(reason).text
  })
  for (let roundAt = 0; roundAt < options.repeat && lost === undefined; roundAt++) {
    const queue = planRound(options, roundAt)
    const worker = async (): Promise<void> => {
      for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
        gauge.max = Math.max(gauge.max, ++gauge.open)
        const stream = await runTask(connection, task, roundAt, startMs)
        gauge.open--
        streams.push(stream)
        options.onStream?.(stream)
      }
    }
    await Promise.all(Array.from({ length: Math.min(options.concurrency, queue.length) }, worker))
  }
  const established = await connection.established
  return summarise(connection, established, streams, gauge.max, performance.now() - startMs)
}

/** Answers of a server end up on the terminal. */
const noteCharactersMax = 200

async function runTask(
  connection: ClientConnection,
  task: ClientTask,
  roundAt: number,
  runStartMs: number,
): Promise<ClientStream> {
  const startMs = performance.now()
  const seen: Seen = { requestBytes: 0, responseBytes: 0 }
  let isRight = false
  let note = ''
  try {
    const verdict = await perform(connection, task, seen, startMs)
    isRight = verdict.isRight
    note = printable(verdict.isRight ? verdict.note : `wrong answer: ${verdict.note}`, noteCharactersMax)
    if (verdict.jitterMs !== undefined) seen.jitterMs = verdict.jitterMs
  } catch (error) {
    note = printable(messageOf(error), noteCharactersMax)
  }
  const durationMs = performance.now() - startMs
  const stats = seen.readStats?.()
  return {
    round: roundAt,
    stream: seen.streamId ?? null,
    service: task.service,
    task: task.name,
    status: seen.status ?? null,
    isRight,
    note,
    requestBytes: seen.requestBytes,
    responseBytes: seen.responseBytes,
    startMs: round(startMs - runStartMs),
    headMs: seen.headMs === undefined ? null : round(seen.headMs),
    durationMs: round(durationMs),
    throughputBytesPerSecond: Math.round(
      ((seen.requestBytes + seen.responseBytes) * 1000) / Math.max(durationMs, 0.001),
    ),
    jitterMs: seen.jitterMs === undefined ? null : round(seen.jitterMs),
    packetsSent: stats?.packetsSent ?? 0,
    packetsReceived: stats?.packetsReceived ?? 0,
    retransmissions: stats?.retransmissions ?? 0,
  }
}

interface Seen {
  streamId?: number
  status?: number
  headMs?: number
  jitterMs?: number
  requestBytes: number
  responseBytes: number
  readStats?: () => StreamStats | undefined
}

async function perform(connection: ClientConnection, task: ClientTask, seen: Seen, startMs: number) {
  const { body, check } = task.open()
  const response = await connection.request({
    method: task.method,
    path: task.path,
    headers: task.headers,
    body: body === null ? null : counted(body, seen),
  })
  seen.headMs = performance.now() - startMs
  seen.streamId = response.streamId
  seen.status = response.status
  seen.readStats = () => response.stats()
  if (response.status !== 200) throw new Error(`status ${response.status}: ${await shortText(response.body, seen)}`)
  for await (const chunk of response.body) {
    seen.responseBytes += chunk.length
    check.onChunk(chunk, performance.now())
  }
  return check.finish(await response.trailers)
}

/** The start of an error's body, in one line; the rest is read and dropped. */
async function shortText(body: AsyncIterable<Uint8Array>, seen: Seen): Promise<string> {
  let text = ''
  for await (const chunk of body) {
    seen.responseBytes += chunk.length
    if (text.length < 2_000) text += Buffer.from(chunk).toString('utf8')
  }
  try {
    const problem: unknown = JSON.parse(text)
    const detail: unknown =
      typeof problem === 'object' && problem !== null
        ? (Reflect.get(problem, 'detail') ?? Reflect.get(problem, 'error'))
        : undefined
    if (typeof detail === 'string') return detail
  } catch {
    // Not JSON: the text itself is shown.
  }
  return text.replace(/\s+/gu, ' ').trim().slice(0, 200)
}

async function* counted(body: AsyncIterable<Uint8Array>, seen: Seen): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    seen.requestBytes += chunk.length
    yield chunk
  }
}

function summarise(
  connection: ClientConnection,
  established: Established,
  streams: readonly ClientStream[],
  max: number,
  durationMs: number,
): ClientReport {
  const { smoothedRttUs, ...counters } = connection.counters() ?? noCounters
  const right = streams.filter((stream) => stream.isRight).length
  return {
    connection: {
      remote: connection.remote,
      handshake: established.earlyData ? '0-RTT' : '1-RTT',
      resumed: established.resumed,
      establishmentMs: round(established.establishmentMs),
      smoothedRttMs: smoothedRttUs === undefined ? null : round(smoothedRttUs / 1000),
      ...counters,
    },
    streams,
    right,
    wrong: streams.length - right,
    maxConcurrentStreams: max,
    durationMs: round(durationMs),
  }
}
