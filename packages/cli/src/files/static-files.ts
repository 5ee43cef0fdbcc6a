/** Files of one directory over HTTP/3: content-length, ranges, entity tags; nothing outside the directory. */
import { createReadStream, realpathSync, type Stats, statSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'
import {
  type HeaderList,
  headerValue,
  type Http3Handler,
  type ServerRequest,
  type ServerResponse,
} from '@quicether/http3'
import { codeOf, UserError } from '@quicether/router'

/** What the server tells of each request. */
export interface ServedFile {
  readonly method: string
  readonly path: string
  readonly status: number
  /** Bytes of body announced. */
  readonly bytes: number
}

interface Range {
  readonly start: number
  /** Last byte, included. */
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

/** Answers GET and HEAD with the files below `root`, which must be a real path. */
export function staticFiles(root: string, onServed: (file: ServedFile) => void): Http3Handler {
  return async (request, response) => {
    const { method, path = '/' } = request
    const answer = (status: number, headers: HeaderList, body = `${status}\n`): Promise<void> => {
      onServed({ method, path, status, bytes: body.length })
      return response.send(status, [['content-type', 'text/plain'], ...headers], body)
    }
    if (method !== 'GET' && method !== 'HEAD') return answer(405, [['allow', 'GET, HEAD']])
    const file = await locate(root, path)
    if (file === undefined) return answer(404, [])
    const tag = `"${file.stats.size.toString(16)}-${Math.round(file.stats.mtimeMs).toString(16)}"`
    const range = requestedRange(request, file.stats.size, tag)
    if (range === 'unsatisfiable') return answer(416, [['content-range', `bytes */${file.stats.size}`]])
    await sendFile(response, file, range, tag, method, (status, bytes) => onServed({ method, path, status, bytes }))
  }
}

async function sendFile(
  response: ServerResponse,
  { name, stats }: { readonly name: string; readonly stats: Stats },
  range: Range | undefined,
  tag: string,
  method: string,
  onSend: (status: number, bytes: number) => void,
): Promise<void> {
  const { start, end } = range ?? { start: 0, end: stats.size - 1 }
  const bytes = end - start + 1
  const status = range === undefined ? 200 : 206
  onSend(status, bytes)
  const headers: [string, string][] = [
    ['content-type', mediaTypes[extname(name).toLowerCase()] ?? 'application/octet-stream'],
    ['content-length', String(bytes)],
    ['accept-ranges', 'bytes'],
    ['etag', tag],
    ['last-modified', stats.mtime.toUTCString()],
  ]
  if (range !== undefined) headers.push(['content-range', `bytes ${start}-${end}/${stats.size}`])
  // A file that shrinks meanwhile ends in a reset: the body is then shorter than announced.
  const hasBody = method === 'GET' && bytes > 0
  await response.send(status, headers, hasBody ? createReadStream(name, { start, end, highWaterMark: pieceBytes }) : [])
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
function requestedRange(request: ServerRequest, size: number, tag: string): Range | 'unsatisfiable' | undefined {
  const header = headerValue(request.headers, 'range')
  const condition = headerValue(request.headers, 'if-range')
  if (header === undefined || request.method !== 'GET' || (condition !== undefined && condition !== tag))
    return undefined
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
