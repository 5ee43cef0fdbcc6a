/** Downloads into files: one request each, over one connection; a file appears whole or not at all. */
import { existsSync, statSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type Http3Client, headerValue } from '@quicether/http3'
import { codeOf, messageOf, UserError } from '@quicether/router'

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
  readonly bytes: number
  readonly durationMs: number
  /** Null when the file is there, whole. */
  readonly error: string | null
}

/** What is known while it runs. */
export interface DownloadProgress {
  receivedBytes: number
  /** Sum of the announced lengths. */
  expectedBytes: number
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

/** Fetches one file. Never rejects: what went wrong is in the result. */
export async function download(
  client: Http3Client,
  { url, file }: DownloadTarget,
  progress: DownloadProgress,
  signal: AbortSignal,
): Promise<DownloadResult> {
  const startMs = performance.now()
  let [status, bytes]: [number | null, number] = [null, 0]
  let error: string | null = null
  try {
    const response = await client.request({
      method: 'GET',
      authority: url.host,
      path: `${url.pathname}${url.search}`,
      signal,
    })
    status = response.status
    if (status !== 200) {
      response.body.cancel()
      throw new Error(`the server answers ${status}`)
    }
    progress.expectedBytes += Number(headerValue(response.headers, 'content-length') ?? 0)
    await save(file, response.body, (length) => {
      bytes += length
      progress.receivedBytes += length
    })
  } catch (cause) {
    error = signal.aborted ? 'interrupted' : messageOf(cause)
  }
  return { url: url.href, file, status, bytes, durationMs: performance.now() - startMs, error }
}

async function save(file: string, body: AsyncIterable<Uint8Array>, onBytes: (length: number) => void): Promise<void> {
  if (file === STANDARD_OUTPUT) {
    for await (const piece of body) {
      if (!process.stdout.write(piece)) await new Promise((resolve) => process.stdout.once('drain', resolve))
      onBytes(piece.length)
    }
    return
  }
  const part = `${file}.part`
  const handle = await create(part)
  try {
    try {
      for await (const piece of body) {
        await writeAll(handle, piece)
        onBytes(piece.length)
      }
    } finally {
      await handle.close()
    }
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}

async function create(part: string): Promise<FileHandle> {
  try {
    return await open(part, 'w')
  } catch (error) {
    const why = codeOf(error) === 'ENOENT' ? 'its directory does not exist' : messageOf(error)
    throw new Error(`cannot write ${part}: ${why}`, { cause: error })
  }
}

async function writeAll(handle: FileHandle, piece: Uint8Array): Promise<void> {
  for (let at = 0; at < piece.length; ) at += (await handle.write(piece, at)).bytesWritten
}

function problem(what: string, where: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where, remedy })
}
