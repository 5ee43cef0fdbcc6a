/** Makes one meaning out of a request path, or says why it has none: what routing compares is what the service gets. */

/** Either the path in its normal form, or what is wrong with it. */
export type CheckedPath = { readonly target: string; readonly bare: string } | { readonly problem: string }

/** RFC 3986 §2.3 */
const unreserved = /[A-Za-z0-9\-._~]/u
const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * `path` is `:path`, query included. RFC 3986 §6.2.2: escapes of unreserved characters are undone and the others written in
 * upper case, so that `/%76ideo` cannot pass by a route for `/video`. `bare` is without the query.
 * `allowEncodedSlash` = the service takes `%2F` and `%5C` inside a segment.
 */
export function checkPath(path: string): CheckedPath & { readonly hasEncodedSlash?: boolean } {
  if (!path.startsWith('/')) return { problem: 'the path does not begin with "/"' }
  const queryAt = path.indexOf('?')
  const raw = queryAt < 0 ? path : path.slice(0, queryAt)
  const query = queryAt < 0 ? '' : path.slice(queryAt)
  if (raw.includes('#') || query.includes('#')) return { problem: 'the path has a fragment' }
  if (raw.includes('\\')) return { problem: 'the path has a backslash' }
  if (!raw.includes('%')) {
    if (raw.includes('/.') && hasDotSegment(raw)) return { problem: 'the path has a "." or ".." segment' }
    return { target: path, bare: raw, hasEncodedSlash: false }
  }
  return checkEscaped(raw, query)
}

function checkEscaped(raw: string, query: string): CheckedPath & { readonly hasEncodedSlash?: boolean } {
  const bytes: number[] = []
  let bare = ''
  let hasEncodedSlash = false
  for (let at = 0; at < raw.length; at++) {
    const char = raw.charAt(at)
    if (char !== '%') {
      bytes.push(char.charCodeAt(0))
      bare += char
      continue
    }
    const hex = raw.slice(at + 1, at + 3)
    if (!/^[0-9A-Fa-f]{2}$/u.test(hex)) return { problem: 'the path has a "%" without two hexadecimal digits' }
    const byte = Number.parseInt(hex, 16)
    if (byte < 0x20 || byte === 0x7f) return { problem: 'the path has an escaped control character' }
    if (byte === 0x2f || byte === 0x5c) hasEncodedSlash = true
    bytes.push(byte)
    const decoded = String.fromCharCode(byte)
    bare += unreserved.test(decoded) ? decoded : `%${hex.toUpperCase()}`
    at += 2
  }
  try {
    utf8.decode(Uint8Array.from(bytes))
  } catch {
    return { problem: 'the path is not valid UTF-8' }
  }
  // Services that undo %2F before they resolve dots would leave the prefix by "/a/..%2Fb".
  const opened = bare.replaceAll(/%2F|%5C/gu, '/')
  if (hasDotSegment(opened)) return { problem: 'the path has a "." or ".." segment' }
  return { target: bare + query, bare, hasEncodedSlash }
}

/** Escaped dots are unreserved and have been undone; "%252e" is a literal "%2e" to whoever follows the rules. */
function hasDotSegment(path: string): boolean {
  return path.split('/').some((segment) => segment === '.' || segment === '..')
}
