/** Downloads into files: one request each, over one connection; a file appears whole or not at all. */
import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type HeaderList, type Http3Client, type Http3Response, headerValue } from '@quicether/http3'
import { formatBytes, messageOf, UserError } from '@quicether/router'
import type { DownloadProgress } from './download-progress.ts'
import { type Continuation, PartFile } from './part-file.ts'

/** Read and written at once. */
const BUFFER_BYTES = 262_144

/** Standard output as a target. */
export const STANDARD_OUTPUT = '-'

export interface DownloadTarget {
  readonly url: URL
  /** Path of the file, or `-`. */
  readonly file: string
}

/** How one download ended. */
export interface DownloadResult {
  readonly url: string
  readonly file: string
  /** Null when no answer came. */
  readonly status: number | null
  /** Bytes that came in this run. */
  readonly bytes: number
  /** Bytes that were there from an aborted run; 0 = none. */
  readonly continuedAt: number
  /** It ended before its end, and another run can go on from there. */
  readonly isKept: boolean
  readonly durationMs: number
  /** Null when the file is there, whole. */
  readonly error: string | null
}

/** The URLs of a command line. Throws `UserError` (`ERR_OPTION`) for others than https and for several servers. */
export function parseUrls(texts: readonly string[]): readonly [URL, ...URL[]] {
  const urls = texts.map((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url !== undefined && url.protocol === 'https:' && url.hostname !== '') return url
    throw problem(`"${text}" is not an https address`, 'URL', 'Expected something like https://127.0.0.1:4433/file.')
  })
  const [first, ...rest] = urls
  if (first === undefined) throw problem('no URL is given', 'URL', 'Name at least one.')
  const other = rest.find((url) => url.host !== first.host)
  if (other !== undefined) {
    throw problem(
      `${other.host} is another server than ${first.host}`,
      other.href,
      'All URLs share one connection: run the command once for each server.',
    )
  }
  return [first, ...rest]
}

/** Where each URL goes. Throws `UserError` (`ERR_OPTION`) for names that clash or cannot be made. */
export function downloadTargets(urls: readonly URL[], output: string | undefined): readonly DownloadTarget[] {
  const isDirectory = output !== undefined && existsSync(output) && statSync(output).isDirectory()
  if (output !== undefined && urls.length > 1 && !isDirectory) {
    throw problem(`${urls.length} URLs cannot go into one file`, `--output ${output}`, 'Name an existing directory.')
  }
  const targets = urls.map((url) => {
    if (output !== undefined && !isDirectory) return { url, file: output }
    const name = fileName(url)
    return { url, file: output === undefined ? name : join(output, name) }
  })
  const names = new Set<string>()
  for (const { url, file } of targets) {
    if (names.has(file)) throw problem(`two URLs would be written to ${file}`, url.href, 'Fetch them one by one.')
    names.add(file)
  }
  return targets
}

function fileName(url: URL): string {
  const last = basename(url.pathname)
  if (url.pathname.endsWith('/') || last === '') return 'index.html'
  try {
    const name = decodeURIComponent(last)
    return /[/\\\0]/u.test(name) || name === '..' || name === '.' ? last : name
  } catch {
    return last
  }
}

/** How the files are fetched. */
export interface DownloadOptions {
  /** `first-last`, `first-` or `-count`: only these bytes. */
  readonly range: string | undefined
  /** Go on where an aborted run ended. */
  readonly mayContinue: boolean
  readonly signal: AbortSignal
  /** What the user should know besides the result. */
  readonly onNote: (note: string) => void
}

/** Fetches one file. Never rejects: what went wrong is in the result. */
export async function download(
  client: Http3Client,
  target: DownloadTarget,
  progress: DownloadProgress,
  options: DownloadOptions,
): Promise<DownloadResult> {
  const startMs = performance.now()
  const run = new DownloadRun(client, target, progress, options)
  let error: string | null = null
  try {
    await run.toEnd()
  } catch (cause) {
    error = options.signal.aborted ? 'interrupted' : messageOf(cause).replace(/\.$/u, '')
  }
  const { status, bytes, continuedAt, isKept } = run
  const durationMs = performance.now() - startMs
  return { url: target.url.href, file: target.file, status, bytes, continuedAt, isKept, durationMs, error }
}

class DownloadRun {
  status: number | null = null
  bytes = 0
  continuedAt = 0
  isKept = false
  readonly #client: Http3Client
  readonly #target: DownloadTarget
  readonly #progress: DownloadProgress
  readonly #options: DownloadOptions

  constructor(client: Http3Client, target: DownloadTarget, progress: DownloadProgress, options: DownloadOptions) {
    this.#client = client
    this.#target = target
    this.#progress = progress
    this.#options = options
  }

  async toEnd(): Promise<void> {
    const { range, mayContinue } = this.#options
    const { file, url } = this.#target
    if (range !== undefined) return this.#fetchRange(range)
    if (file === STANDARD_OUTPUT) return this.#printBody(await this.#request([]))
    const part = await PartFile.at(file, url.href, mayContinue)
    try {
      await this.#fetchInto(part)
      await part.finish()
    } catch (error) {
      this.isKept = await part.abandon()
      throw error
    }
  }

  async #fetchInto(part: PartFile): Promise<void> {
    const { continuation } = part
    const answer = continuation === undefined ? undefined : await this.#askForRest(continuation)
    if (answer?.status === 206) {
      this.continuedAt = continuation?.offset ?? 0
      await part.continue()
      return this.#read(answer, (piece) => part.write(piece))
    }
    const response = answer ?? (await this.#request([]))
    const size = lengthOf(response)
    // A weak tag does not promise that the bytes are the same (RFC 9110 §13.1.5).
    const etag = headerValue(response.headers, 'etag')
    await part.begin({ etag: size === undefined || etag?.startsWith('W/') === true ? undefined : etag, size })
    await this.#read(response, (piece) => part.write(piece))
  }

  /** The rest (206), the whole file because it has changed (200), or undefined: it has to be asked for again. */
  async #askForRest({ offset, etag, size }: Continuation): Promise<Http3Response | undefined> {
    const { file } = this.#target
    const headers: HeaderList = [
      ['range', `bytes=${offset}-`],
      ['if-range', etag],
    ]
    const response = await this.#request(headers, [200, 206, 412, 416])
    const range = headerValue(response.headers, 'content-range')
    // Not every server knows If-Range: the tag tells whether it is the same file (RFC 9110 §15.3.7).
    const isSame = headerValue(response.headers, 'etag') === etag && range === `bytes ${offset}-${size - 1}/${size}`
    if (response.status === 206 && isSame) {
      this.#options.onNote(`${file} goes on after ${formatBytes(offset)} of ${formatBytes(size)}`)
      return response
    }
    this.#options.onNote(`${file} has changed on the server since the last run: it comes from its beginning`)
    if (response.status === 200) return response
    response.body.cancel()
    return undefined
  }

  async #fetchRange(range: string): Promise<void> {
    const response = await this.#request([['range', `bytes=${range}`]], [200, 206])
    if (response.status !== 206) {
      response.body.cancel()
      throw new Error('the server sends whole files only: leave --range out')
    }
    const { file, url } = this.#target
    if (file === STANDARD_OUTPUT) return this.#printBody(response)
    const part = await PartFile.at(file, url.href, false)
    try {
      await part.begin({ etag: undefined, size: undefined })
      await this.#read(response, (piece) => part.write(piece))
      await part.finish()
    } catch (error) {
      await part.abandon()
      throw error
    }
  }

  async #request(headers: HeaderList, statuses: readonly number[] = [200]): Promise<Http3Response> {
    const { url } = this.#target
    const { signal, range } = this.#options
    const path = `${url.pathname}${url.search}`
    const response = await this.#client.request({ method: 'GET', authority: url.host, path, headers, signal })
    this.status = response.status
    if (statuses.includes(response.status)) return response
    response.body.cancel()
    const why = response.status === 416 && range !== undefined ? `: the file has no bytes ${range}` : ''
    throw new Error(`the server answers ${response.status}${why}`)
  }

  #printBody(response: Http3Response): Promise<void> {
    return this.#read(response, (piece) => new Promise<void>((resolve) => process.stdout.write(piece, () => resolve())))
  }

  /** `write` may use the piece until its promise settles. */
  async #read(response: Http3Response, write: (piece: Uint8Array) => Promise<void>): Promise<void> {
    const progress = this.#progress
    progress.begin(lengthOf(response) ?? 0)
    const { body } = response
    const buffer = new Uint8Array(BUFFER_BYTES)
    try {
      for (let read = await body.readInto(buffer); read > 0; read = await body.readInto(buffer)) {
        this.bytes += read
        progress.received(read)
        await write(buffer.subarray(0, read))
      }
    } catch (error) {
      body.cancel()
      throw error
    } finally {
      progress.end()
    }
  }
}

function lengthOf(response: Http3Response): number | undefined {
  const text = headerValue(response.headers, 'content-length')
  return text === undefined || !/^\d{1,15}$/u.test(text) ? undefined : Number(text)
}

function problem(what: string, where: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where, remedy })
}
