/** What a server of files answers: content-length, ranges, entity tags; nothing outside the directory. */
import { createReadStream, type ReadStream, realpathSync, type Stats, statSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'
import { codeOf, UserError } from '@quicether/router'

/** What matters of a request. */
export interface FileRequest {
  readonly method: string
  /** With query; not decoded yet. */
  readonly path: string
  readonly range: string | undefined
  readonly ifRange: string | undefined
}

export interface FileAnswer {
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
  /** Bytes of body announced. */
  readonly bytes: number
  readonly body: string | FilePart
}

/** Some bytes of a file. */
export interface FilePart extends Range {
  readonly name: string
}

interface Range {
  readonly start: number
  /** Last byte, included; before `start` = no bytes. */
  readonly end: number
}

const pieceBytes = 262_144
const indexFile = 'index.html'

const mediaTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.mp4': 'video/mp4',
}

/** The real path of the directory to serve. Throws `UserError` (`ERR_OPTION`) when there is none. */
export function servedDirectory(directory: string): string {
  try {
    const real = realpathSync(directory)
    if (statSync(real).isDirectory()) return real
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  throw new UserError('ERR_OPTION', {
    what: 'there is no such directory',
    where: `--www ${directory}`,
    remedy: 'Give the directory whose files shall be served.',
  })
}

/** The answer to GET and HEAD for the files below `root`, which must be a real path; a HEAD's body must not be sent. */
export async function answerFile(root: string, request: FileRequest): Promise<FileAnswer> {
  const { method } = request
  if (method !== 'GET' && method !== 'HEAD') return refusal(405, ['allow', 'GET, HEAD'])
  const file = await locate(root, request.path)
  if (file === undefined) return refusal(404)
  const { size, mtime, mtimeMs } = file.stats
  const tag = `"${size.toString(16)}-${Math.round(mtimeMs).toString(16)}"`
  const range = requestedRange(request, size, tag)
  if (range === 'unsatisfiable') return refusal(416, ['content-range', `bytes */${size}`])
  const { start, end } = range ?? { start: 0, end: size - 1 }
  const bytes = end - start + 1
  const headers: [string, string][] = [
    ['content-type', mediaTypes[extname(file.name).toLowerCase()] ?? 'application/octet-stream'],
    ['content-length', String(bytes)],
    ['accept-ranges', 'bytes'],
    ['etag', tag],
    ['last-modified', mtime.toUTCString()],
  ]
  if (range !== undefined) headers.push(['content-range', `bytes ${start}-${end}/${size}`])
  return { status: range === undefined ? 200 : 206, headers, bytes, body: { name: file.name, start, end } }
}

/** The bytes of a part; undefined when there are none. A file that shrinks meanwhile ends early. */
export function openPart({ name, start, end }: FilePart): ReadStream | undefined {
  return end < start ? undefined : createReadStream(name, { start, end, highWaterMark: pieceBytes })
}

function refusal(status: number, ...headers: readonly (readonly [string, string])[]): FileAnswer {
  const body = `${status}\n`
  return { status, headers: [['content-type', 'text/plain'], ...headers], bytes: body.length, body }
}

/** The file of a request target; undefined when there is none inside the directory. */
async function locate(
  root: string,
  target: string,
): Promise<{ readonly name: string; readonly stats: Stats } | undefined> {
  const parts = pathParts(target)
  if (parts === undefined) return undefined
  try {
    let name = await realpath(join(root, ...parts))
    if ((await stat(name)).isDirectory()) name = await realpath(join(name, indexFile))
    // Links may lead around inside the directory, not out of it.
    const inside = root.endsWith(sep) ? root : `${root}${sep}`
    const stats = await stat(name)
    return name.startsWith(inside) && stats.isFile() ? { name, stats } : undefined
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENAMETOOLONG'].includes(codeOf(error))) return undefined
    throw error
  }
}

/** Decoded segments of a request target, undefined for targets that name no file. */
function pathParts(target: string): readonly string[] | undefined {
  try {
    const parts = decodeURIComponent(target.replace(/[?#].*$/su, '')).split('/')
    const isBad = parts.some((part) => part === '..' || part.includes('\0') || part.includes('\\'))
    return isBad ? undefined : parts.filter((part) => part !== '' && part !== '.')
  } catch {
    return undefined
  }
}

/** RFC 9110 §14.2: several ranges and malformed ones are ignored, as a server may. */
function requestedRange(request: FileRequest, size: number, tag: string): Range | 'unsatisfiable' | undefined {
  const { method, range: header, ifRange } = request
  if (header === undefined || method !== 'GET' || (ifRange !== undefined && ifRange !== tag)) return undefined
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/u.exec(header.trim())
  if (match === null) return undefined
  const [, first = '', last = ''] = match
  if (first === '') {
    if (last === '') return undefined
    const count = Math.min(Number(last), size)
    return count === 0 ? 'unsatisfiable' : { start: size - count, end: size - 1 }
  }
  const start = Number(first)
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (last !== '' && Number(last) < start) return undefined
  return start >= size ? 'unsatisfiable' : { start, end }
}
