/** What makes a message well-formed (RFC 9114 §4.1.2, §4.2, §4.3), for messages that come in and that go out. */
import { H3StreamError } from './errors.ts'
import type { HeaderLine, HeaderList } from './headers.ts'

export interface RequestHead {
  readonly kind: 'request'
  readonly method: string
  /** Of an extended CONNECT (RFC 9220), e.g. `websocket`; undefined for everything else. */
  readonly protocol: string | undefined
  /** Undefined for CONNECT without `:protocol`. */
  readonly scheme: string | undefined
  /** From `:authority`, else from Host; undefined when the scheme needs none. */
  readonly authority: string | undefined
  /** Undefined for CONNECT without `:protocol`. */
  readonly path: string | undefined
  /** Fields without pseudo-header fields. */
  readonly headers: HeaderList
  readonly contentLength: number | undefined
}

export interface ResponseHead {
  readonly kind: 'response'
  readonly status: number
  readonly headers: HeaderList
  readonly contentLength: number | undefined
}

/** Parts of a request by pseudo-header field. */
type Pseudo = Record<':method' | ':scheme' | ':authority' | ':path' | ':protocol', string | undefined>

function malformed(reason: string): never {
  // RFC 9114 §4.1.2: "MUST be treated as a stream error of type H3_MESSAGE_ERROR"
  throw new H3StreamError('H3_MESSAGE_ERROR', reason)
}

/**
 * Reads and checks the header section of a request. `allowsProtocol` = extended CONNECT was announced (RFC 9220).
 * Throws H3StreamError(H3_MESSAGE_ERROR).
 */
export function parseRequestHead(lines: HeaderList, allowsProtocol = false): RequestHead {
  const pseudo: Pseudo = {
    ':method': undefined,
    ':scheme': undefined,
    ':authority': undefined,
    ':path': undefined,
    ':protocol': undefined,
  }
  const headers = splitPseudo(lines, (name, value) => {
    // RFC 8441 §3, RFC 9220 §3: nobody may send :protocol to a server that has not announced it
    if (!Object.hasOwn(pseudo, name) || (name === ':protocol' && !allowsProtocol))
      malformed(`request with pseudo-header field ${quote(name)}`)
    const key = name as keyof Pseudo
    if (pseudo[key] !== undefined) malformed(`pseudo-header field ${name} occurs twice`)
    pseudo[key] = value
  })
  const { contentLength, host } = checkFields(headers)
  const method = pseudo[':method']
  if (method === undefined) return malformed('request without :method')
  if (!isToken(method)) malformed(`method ${quote(method)} is not a token`)
  const authority = pseudo[':authority']
  if (authority !== undefined) checkAuthority(authority)
  const protocol = pseudo[':protocol']
  if (protocol !== undefined) checkProtocol(method, protocol)
  if (method === 'CONNECT' && protocol === undefined) {
    // RFC 9114 §4.4: ":scheme and :path pseudo-header fields are omitted", ":authority" names host and port
    if (pseudo[':scheme'] !== undefined || pseudo[':path'] !== undefined) malformed('CONNECT with :scheme or :path')
    if (authority === undefined || authority === '') malformed('CONNECT without :authority')
    const none = { protocol, scheme: undefined, path: undefined }
    return { kind: 'request', method, authority, headers, contentLength, ...none }
  }
  return checkTarget(method, pseudo, host, headers, contentLength)
}

/** RFC 8441 §4: ":protocol" belongs to CONNECT and names an upgrade token (RFC 9110 §16.7). */
function checkProtocol(method: string, protocol: string): void {
  if (method !== 'CONNECT') malformed(`:protocol with the method ${quote(method)}, which is not CONNECT`)
  const parts = protocol.split('/')
  if (parts.length > 2 || !parts.every(isToken)) malformed(`:protocol ${quote(protocol)} is not an upgrade token`)
}

// RFC 8441 §4: "On requests that contain the :protocol pseudo-header field, the :scheme and :path pseudo-header fields of the target URI MUST also be included"
/** RFC 9114 §4.3.1, requests other than CONNECT; with `:protocol` that one, too. */
function checkTarget(
  method: string,
  pseudo: Pseudo,
  host: string | undefined,
  headers: HeaderList,
  contentLength: number | undefined,
): RequestHead {
  const scheme = pseudo[':scheme']
  const path = pseudo[':path']
  if (scheme === undefined) return malformed('request without :scheme')
  if (path === undefined) return malformed('request without :path')
  if (!/^[A-Za-z][A-Za-z0-9+.-]*$/.test(scheme)) malformed(`scheme ${quote(scheme)} is not a URI scheme`)
  const authority = pseudo[':authority'] ?? host
  const schemeLower = scheme.toLowerCase()
  if (schemeLower === 'http' || schemeLower === 'https') {
    // "the request MUST contain either an :authority pseudo-header field or a Host header field. If these fields are
    // present, they MUST NOT be empty. If both fields are present, they MUST contain the same value."
    if (authority === undefined || authority === '' || host === '') malformed('request without :authority and host')
    if (pseudo[':authority'] !== undefined && host !== undefined && host !== pseudo[':authority']) {
      malformed(`:authority ${quote(pseudo[':authority'])} and host ${quote(host)} differ`)
    }
    // "This pseudo-header field MUST NOT be empty for http or https URIs"; it starts with "/", or is "*" for OPTIONS
    const isAsterisk = path === '*' && method === 'OPTIONS'
    if (!path.startsWith('/') && !isAsterisk) malformed(`path ${quote(path)} does not start with "/"`)
  }
  for (let i = 0; i < path.length; i++) {
    const char = path.charCodeAt(i)
    if (char <= 0x20 || char >= 0x7f) malformed(`path has the character 0x${char.toString(16)}`)
  }
  return { kind: 'request', method, protocol: pseudo[':protocol'], scheme, authority, path, headers, contentLength }
}

/** Reads and checks the header section of a response. Throws H3StreamError(H3_MESSAGE_ERROR). */
export function parseResponseHead(lines: HeaderList): ResponseHead {
  let status: string | undefined
  const headers = splitPseudo(lines, (name, value) => {
    if (name !== ':status') malformed(`response with pseudo-header field ${quote(name)}`)
    if (status !== undefined) malformed('pseudo-header field :status occurs twice')
    status = value
  })
  const { contentLength } = checkFields(headers)
  // RFC 9114 §4.3.2: "This pseudo-header field MUST be included in all responses; otherwise, the response is malformed"
  if (status === undefined) return malformed('response without :status')
  if (!/^[1-9][0-9]{2}$/.test(status)) malformed(`status ${quote(status)} is not a three-digit code`)
  // RFC 9114 §4.5: HTTP/3 does not support "the 101 (Switching Protocols) informational status code"
  if (status === '101') malformed('status 101 does not exist in HTTP/3')
  return { kind: 'response', status: Number(status), headers, contentLength }
}

/** Checks a trailer section and returns it. Throws H3StreamError(H3_MESSAGE_ERROR). */
export function parseTrailers(lines: HeaderList): HeaderList {
  // RFC 9114 §4.3: "Pseudo-header fields MUST NOT appear in trailer sections"
  const trailers = splitPseudo(lines, (name) => malformed(`trailers with pseudo-header field ${quote(name)}`))
  checkFields(trailers)
  return trailers
}

/** RFC 9114 §4.3: pseudo-header fields come first; the rest is returned. */
function splitPseudo(lines: HeaderList, onPseudo: (name: string, value: string) => void): HeaderLine[] {
  const headers: HeaderLine[] = []
  for (const line of lines) {
    if (!line[0].startsWith(':')) headers.push(line)
    else if (headers.length > 0) malformed(`pseudo-header field ${quote(line[0])} after a regular field`)
    else {
      checkValue(line[0], line[1])
      onPseudo(line[0], line[1])
    }
  }
  return headers
}

/** RFC 9114 §4.2: "An endpoint MUST NOT generate an HTTP/3 field section containing connection-specific fields". */
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

interface FieldFacts {
  readonly contentLength: number | undefined
  readonly host: string | undefined
}

function checkFields(headers: HeaderList): FieldFacts {
  let contentLength: number | undefined
  let host: string | undefined
  for (const [name, value] of headers) {
    checkName(name)
    checkValue(name, value)
    if (CONNECTION_SPECIFIC.has(name)) malformed(`field ${name} belongs to HTTP/1.1 connections`)
    // "The only exception to this is the TE header field … it MUST NOT contain any value other than 'trailers'"
    if (name === 'te' && value.toLowerCase() !== 'trailers')
      malformed(`te with ${quote(value)}, only "trailers" is allowed`)
    if (name === 'content-length') contentLength = readContentLength(value, contentLength)
    if (name === 'host') {
      if (host !== undefined) malformed('field host occurs twice')
      host = value
    }
  }
  return { contentLength, host }
}

function readContentLength(value: string, earlier: number | undefined): number {
  // RFC 9110 §8.6: a list of equal values may be taken as one of them.
  let length = earlier
  for (const part of value.split(',')) {
    const text = part.trim()
    if (!/^[0-9]{1,15}$/.test(text)) malformed(`content-length ${quote(value)} is not a number`)
    const number = Number(text)
    if (length !== undefined && length !== number) malformed('content-length occurs with different values')
    length = number
  }
  return length as number
}

function checkAuthority(authority: string): void {
  // RFC 9114 §4.3.1: "The authority MUST NOT include the deprecated userinfo subcomponent"
  if (authority.includes('@')) malformed(':authority has user information in it')
  if (/[\s/?#]/.test(authority)) malformed(`:authority ${quote(authority)} is not a host and port`)
}

/** 1 for the characters of an HTTP token in lower case (RFC 9110 §5.6.2, RFC 9114 §4.2). */
const NAME_CHARS = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME_CHARS[char.charCodeAt(0)] = 1

// RFC 9114 §10.3: "Requests or responses containing invalid field names MUST be treated as malformed"
function checkName(name: string): void {
  if (name.length === 0) malformed('field with an empty name')
  for (let i = 0; i < name.length; i++) {
    if (NAME_CHARS[name.charCodeAt(i)] === 1) continue
    const why = /[A-Z]/.test(name) ? 'has upper-case letters' : 'has characters that are not allowed'
    malformed(`field name ${quote(name)} ${why}`)
  }
}

// RFC 9114 §10.3: a message "that contains a character not permitted in a field value MUST be treated as malformed"
function checkValue(name: string, value: string): void {
  for (let i = 0; i < value.length; i++) {
    const char = value.charCodeAt(i)
    // RFC 9110 §5.5 allows visible characters, space, tab and octets above 0x7f.
    const isAllowed = (char >= 0x20 && char !== 0x7f && char <= 0xff) || char === 0x09
    if (!isAllowed) malformed(`field ${quote(name)} has the character 0x${char.toString(16)} in its value`)
  }
  const first = value.charCodeAt(0)
  const last = value.charCodeAt(value.length - 1)
  if (first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09) {
    malformed(`field ${quote(name)} has a value that starts or ends with a space`)
  }
}

/** Whether `text` is a token (RFC 9110 §5.6.2), such as a method. */
export function isToken(text: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text)
}

/** A name or value for an error message: printable, short, in quotes. */
function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
