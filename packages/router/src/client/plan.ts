/** What `quicether client` asks of each service, and how it checks that the answers are right. */
import { createHash, type Hash } from 'node:crypto'
import type { HeaderList } from '../exchange.ts'
import { VideoAnalysis } from '../services/video-analysis.ts'
import { chunksOf, frameCount, sampleLanguage, sampleText, videoFrames } from './sample-data.ts'

export interface PlanOptions {
  /** Requests per service and round. */
  readonly count: number
  /** Bytes of each video and each text. */
  readonly sizeBytes: number
  /** Frame rate of the videos, both ways; 0 = as fast as possible. */
  readonly framesPerSecond: number
}

/** What the client found out about one answer. */
export interface Verdict {
  readonly isRight: boolean
  readonly note: string
  /** Jitter the video service measured on an upload, or the client on a download. */
  readonly jitterMs?: number | undefined
}

/** Reads an answer as it comes and judges it at the end. */
export interface AnswerCheck {
  onChunk(chunk: Uint8Array, nowMs: number): void
  finish(trailers: HeaderList | undefined): Verdict
}

export interface ClientTask {
  readonly service: 'video' | 'text' | 'control'
  readonly name: string
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers: HeaderList
  /** Null = no body. A task may be run several times. */
  open(): { readonly body: AsyncIterable<Uint8Array> | null; readonly check: AnswerCheck }
}

/** The tasks of one round, services in turn. */
export function planRound(options: PlanOptions, round: number): ClientTask[] {
  const tasks: ClientTask[] = []
  for (let at = 0; at < options.count; at++) {
    const index = round * options.count + at
    tasks.push(at % 2 === 0 ? videoUpload(options, index) : videoDownload(options, index))
    tasks.push(at % 2 === 0 ? textAnalysis(options, index) : textTransform(options, index))
    tasks.push(controlBatch(index))
  }
  return tasks
}

function videoUpload(options: PlanOptions, index: number): ClientTask {
  return {
    service: 'video',
    name: 'upload',
    method: 'POST',
    path: '/video/upload',
    headers: [['content-type', 'application/x-quicether-video']],
    open() {
      const hash = createHash('sha256')
      const { frames } = frameCount(options.sizeBytes)
      const body = hashed(videoFrames(options.sizeBytes, options.framesPerSecond, index), hash)
      return {
        body,
        check: jsonCheck((report) => {
          const isRight =
            report['sha256'] === hash.digest('hex') && report['frames'] === frames && report['framesDamaged'] === 0
          const jitterMs = typeof report['frameJitterMs'] === 'number' ? report['frameJitterMs'] : undefined
          return {
            isRight,
            jitterMs,
            note: `${frames} frames, ${report['framesMissing']} missing, ${report['framesDamaged']} damaged`,
          }
        }),
      }
    },
  }
}

function videoDownload(options: PlanOptions, index: number): ClientTask {
  const { frames, payloadBytes } = frameCount(options.sizeBytes)
  return {
    service: 'video',
    name: 'download',
    method: 'GET',
    path: `/video/stream?frames=${frames}&fps=${options.framesPerSecond}&bytes=${payloadBytes}&seed=${index}`,
    headers: [],
    open() {
      const analysis = new VideoAnalysis()
      return {
        body: null,
        check: {
          onChunk: (chunk, nowMs) => analysis.push(chunk, nowMs),
          finish: (trailers) => {
            const report = analysis.finish()
            const digest = trailers?.find(([name]) => name === 'x-content-sha256')?.[1]
            const isRight = report.sha256 === digest && report.frames === frames && report.framesDamaged === 0
            const note =
              digest === undefined
                ? 'the digest in the trailers is missing'
                : `${report.frames} frames, ${report.framesMissing} missing`
            return { isRight, note, jitterMs: report.frameJitterMs ?? undefined }
          },
        },
      }
    },
  }
}

function textAnalysis(options: PlanOptions, index: number): ClientTask {
  const text = sampleText(options.sizeBytes, index)
  const digest = createHash('sha256').update(text).digest('hex')
  const expected = sampleLanguage(index)
  return {
    service: 'text',
    name: 'analyze',
    method: 'POST',
    path: '/text/analyze?top=3',
    headers: [
      ['content-type', 'text/plain; charset=utf-8'],
      ['content-length', String(text.length)],
    ],
    open: () => ({
      body: chunksOf(text),
      check: jsonCheck((report) => {
        const languages = Array.isArray(report['languages']) ? (report['languages'] as { language?: unknown }[]) : []
        const language = languages[0]?.language
        return {
          isRight: report['sha256'] === digest && language === expected,
          note: `${report['words']} words, ${String(language)}`,
        }
      }),
    }),
  }
}

function textTransform(options: PlanOptions, index: number): ClientTask {
  const text = sampleText(options.sizeBytes, index)
  const digest = createHash('sha256').update(Buffer.from(text).toString('utf8').toUpperCase()).digest('hex')
  return {
    service: 'text',
    name: 'transform',
    method: 'POST',
    path: '/text/transform?mode=upper',
    headers: [['content-type', 'text/plain; charset=utf-8']],
    open() {
      const hash = createHash('sha256')
      let bytes = 0
      return {
        body: chunksOf(text),
        check: {
          onChunk: (chunk) => {
            hash.update(chunk)
            bytes += chunk.length
          },
          finish: (trailers) => {
            const lines = trailers?.find(([name]) => name === 'x-lines')?.[1] ?? '?'
            return { isRight: hash.digest('hex') === digest, note: `${lines} lines, ${bytes} bytes in capitals` }
          },
        },
      }
    },
  }
}

function controlBatch(index: number): ClientTask {
  const name = `client-${process.pid}-${index}-${Math.round(performance.now() * 1000)}`
  const commands = [
    { command: 'start-session', session: name },
    { command: 'set', key: name, value: { index } },
    { command: 'increment', key: `${name}.count`, by: 2 },
    { command: 'get', key: name },
    { command: 'delete', key: name },
    { command: 'delete', key: `${name}.count` },
    { command: 'stop-session', session: name },
  ]
  const body = Buffer.from(JSON.stringify(commands))
  return {
    service: 'control',
    name: 'batch',
    method: 'POST',
    path: '/control/command',
    headers: [
      ['content-type', 'application/json'],
      ['content-length', String(body.length)],
    ],
    open: () => ({
      body: chunksOf(body),
      check: jsonCheck((report) => {
        const results = Array.isArray(report['results'])
          ? (report['results'] as { ok?: unknown; result?: unknown }[])
          : []
        const good = results.filter((result) => result.ok === true).length
        const value = JSON.stringify(results[3]?.result)
        const isRight = good === commands.length && results[2]?.result === 2 && value === JSON.stringify({ index })
        return { isRight, note: `${good} of ${commands.length} commands` }
      }),
    }),
  }
}

/** Answers are small JSON documents; a larger one is not an answer of ours. */
const jsonBytesMax = 1_048_576

function jsonCheck(judge: (report: Readonly<Record<string, unknown>>) => Verdict): AnswerCheck {
  const chunks: Uint8Array[] = []
  let bytes = 0
  return {
    onChunk: (chunk) => {
      bytes += chunk.length
      if (bytes > jsonBytesMax) throw new Error(`the answer is larger than ${jsonBytesMax} bytes`)
      chunks.push(chunk)
    },
    finish: () => {
      const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
      if (typeof value !== 'object' || value === null) return { isRight: false, note: 'the answer is not an object' }
      return judge(value as Readonly<Record<string, unknown>>)
    },
  }
}

async function* hashed(body: AsyncIterable<Uint8Array>, hash: Hash): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    hash.update(chunk)
    yield chunk
  }
}
