/** Files of one directory over HTTP/3. */
import { headerValue, type Http3Handler } from '@quicether/http3'
import { answerFile, openPart } from './file-answers.ts'

/** What a server tells of each request. */
export interface ServedFile {
  readonly method: string
  readonly path: string
  readonly status: number
  /** Bytes of body announced. */
  readonly bytes: number
}

/** Answers GET and HEAD with the files below `root`, which must be a real path. */
export function staticFiles(root: string, onServed: (file: ServedFile) => void): Http3Handler {
  return async ({ method, path = '/', headers }, response) => {
    const range = headerValue(headers, 'range')
    const answer = await answerFile(root, { method, path, range, ifRange: headerValue(headers, 'if-range') })
    const { status, bytes, body } = answer
    onServed({ method, path, status, bytes })
    if (typeof body === 'string') return response.send(status, answer.headers, body)
    // A body that is shorter than announced ends in a reset.
    return response.send(status, answer.headers, method === 'GET' ? (openPart(body) ?? []) : [])
  }
}
