import assert from 'node:assert/strict'
import { test } from 'node:test'
import { h3ErrorCodes, type H3ErrorName } from './errors.ts'
import type { HeaderList } from './headers.ts'
import { emptySettings, frame, headersFrame, RawPeer } from './testing/raw-peer.ts'
import {
  clientWithRequest,
  closesWith,
  GET,
  OK,
  POST,
  readingServer,
  requests,
  staysOpen,
} from './testing/session-fixtures.ts'

// ---- request streams: frames ----

const requestFrameErrors: readonly (readonly [string, number[], H3ErrorName])[] = [
  ['DATA before HEADERS', frame(0x00, [1]), 'H3_FRAME_UNEXPECTED'],
  ['SETTINGS', emptySettings, 'H3_FRAME_UNEXPECTED'],
  ['GOAWAY', frame(0x07, [0]), 'H3_FRAME_UNEXPECTED'],
  ['MAX_PUSH_ID', frame(0x0d, [0]), 'H3_FRAME_UNEXPECTED'],
  ['CANCEL_PUSH', frame(0x03, [0]), 'H3_FRAME_UNEXPECTED'],
  ['PUSH_PROMISE', frame(0x05, [0]), 'H3_FRAME_UNEXPECTED'],
  ['PRIORITY_UPDATE', frame(0xf0700, [0]), 'H3_FRAME_UNEXPECTED'],
  ['HTTP/2 PING', frame(0x06), 'H3_FRAME_UNEXPECTED'],
]

for (const [what, bytes, name] of requestFrameErrors) {
  // spec: RFC 9114 §4.1#3, §7.2.3#6, §7.2.4#5, §7.2.5#11, §7.2.6#2, §7.2.7#1, §7.2.8#3
  test(`${what} on a request stream makes a server close with ${name}`, () => {
    const peer = new RawPeer('server')
    peer.openBidi(bytes)
    closesWith(peer, name)
  })
}

const tails: readonly (readonly [string, number[], H3ErrorName])[] = [
  ['HEADERS after trailers', [...headersFrame([['x', '1']]), ...headersFrame([['y', '2']])], 'H3_FRAME_UNEXPECTED'],
  ['DATA after trailers', [...headersFrame([['x', '1']]), ...frame(0x00, [1])], 'H3_FRAME_UNEXPECTED'],
  ['SETTINGS after DATA', [...frame(0x00, [1]), ...emptySettings], 'H3_FRAME_UNEXPECTED'],
]

for (const [what, bytes, name] of tails) {
  // spec: RFC 9114 §4.1#3
  test(`${what} closes with ${name}`, () => {
    const { peer } = readingServer()
    peer.openBidi([...headersFrame(POST), ...bytes])
    closesWith(peer, name)
  })
}

// spec: RFC 9114 §7.1#4, §10.8
test('a stream that ends inside a frame closes with H3_FRAME_ERROR', () => {
  const { peer } = readingServer()
  peer.openBidi([...headersFrame(POST), 0x00, 0x05, 1, 2], { fin: true })
  closesWith(peer, 'H3_FRAME_ERROR')
})

// spec: RFC 9114 §7.2.8#1, §9#1
test('unknown and reserved frames between all others are ignored', () => {
  const { peer, log } = readingServer()
  const grease = [...frame(0x21, [1, 2, 3]), ...frame(0x40 + 0x1f * 100), ...frame(2 ** 40, [9])]
  const id = peer.openBidi(
    [
      ...grease,
      ...headersFrame(POST),
      ...grease,
      ...frame(0x00, [1, 2]),
      ...grease,
      ...headersFrame([['x', 'y']]),
      ...grease,
    ],
    { fin: true },
  )
  staysOpen(peer)
  assert.deepEqual(log, ['POST /', 'body 2', 'end [["x","y"]]'])
  assert.ok(peer.received(id).length > 0)
})

test('a request stream that ends without a request is reset with H3_REQUEST_INCOMPLETE', () => {
  const { peer } = readingServer()
  const id = peer.openBidi([], { fin: true })
  staysOpen(peer)
  assert.equal(peer.resetCode(id), h3ErrorCodes.H3_REQUEST_INCOMPLETE)
})

// ---- messages ----

// spec: RFC 9114 §4.1#5, §4.2#2, §4.2#4, §4.2#5, §4.3#3, §4.3#5, §4.3#7, §4.3.1#1, §4.3.1#5, §4.3.1#7, §4.3.1#8, §4.3.1#9, §4.3.1#10, §4.4#1, §10.3
const malformedRequests: readonly (readonly [string, HeaderList])[] = [
  ['no :method', GET.slice(1)],
  ['no :scheme', [GET[0]!, ...GET.slice(2)]],
  ['no :path', GET.slice(0, 3)],
  ['neither :authority nor host', [GET[0]!, GET[1]!, GET[3]!]],
  ['an empty :authority', [GET[0]!, GET[1]!, [':authority', ''], GET[3]!]],
  ['an empty host', [GET[0]!, GET[1]!, GET[3]!, ['host', '']]],
  ['an :authority and host that differ', [...GET, ['host', 'other.test']]],
  ['user information in :authority', [GET[0]!, GET[1]!, [':authority', 'u:p@example.test'], GET[3]!]],
  ['an empty :path', [...GET.slice(0, 3), [':path', '']]],
  ['a :path without a slash', [...GET.slice(0, 3), [':path', 'index.html']]],
  ['a :path with a space', [...GET.slice(0, 3), [':path', '/a b']]],
  ['a :method that is not a token', [[':method', 'G T'], ...GET.slice(1)]],
  ['a :scheme that is none', [GET[0]!, [':scheme', '1'], ...GET.slice(2)]],
  [':method twice', [GET[0]!, ...GET]],
  ['an unknown pseudo-header field', [...GET, [':protocol', 'x']]],
  [':status in a request', [...GET, [':status', '200']]],
  ['a pseudo-header field after a field', [GET[0]!, GET[1]!, GET[2]!, ['x', 'y'], GET[3]!]],
  ['an upper-case name', [...GET, ['Accept', '*/*']]],
  ['an empty name', [...GET, ['', 'x']]],
  ['a name with a space', [...GET, ['a b', 'x']]],
  ['a line break in a value', [...GET, ['x', 'a\nb']]],
  ['a zero byte in a value', [...GET, ['x', 'a\0b']]],
  ['a value that ends with a space', [...GET, ['x', 'a ']]],
  ['connection', [...GET, ['connection', 'keep-alive']]],
  ['transfer-encoding', [...GET, ['transfer-encoding', 'chunked']]],
  ['upgrade', [...GET, ['upgrade', 'h2c']]],
  ['keep-alive', [...GET, ['keep-alive', '5']]],
  ['proxy-connection', [...GET, ['proxy-connection', 'close']]],
  ['te other than trailers', [...GET, ['te', 'gzip']]],
  ['content-length that is no number', [...GET, ['content-length', '+1']]],
  ['two content-lengths', [...GET, ['content-length', '1'], ['content-length', '2']]],
  [
    'CONNECT with a path',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
      [':path', '/'],
    ],
  ],
  ['CONNECT without :authority', [[':method', 'CONNECT']]],
]

for (const [what, headers] of malformedRequests) {
  // spec: RFC 9114 §4.1.2#2
  test(`a request with ${what} is H3_MESSAGE_ERROR on its stream only`, () => {
    const { peer, log } = readingServer()
    const bad = peer.openBidi(headersFrame(headers), { fin: true })
    assert.equal(peer.resetCode(bad), h3ErrorCodes.H3_MESSAGE_ERROR)
    peer.openBidi(headersFrame(GET), { fin: true })
    staysOpen(peer)
    assert.deepEqual(requests(log), ['GET /'])
  })
}

for (const [what, headers] of [
  ['host instead of :authority', [GET[0]!, GET[1]!, GET[3]!, ['host', 'example.test']]],
  ['te: trailers', [...GET, ['te', 'trailers']]],
  ['OPTIONS *', [[':method', 'OPTIONS'], GET[1]!, GET[2]!, [':path', '*']]],
  ['a scheme that is not http, without authority', [GET[0]!, [':scheme', 'urn'], [':path', 'x:y']]],
  ['bytes above 0x7f in a value', [...GET, ['x', '\u00e4\u00ff']]],
  ['equal content-lengths', [...GET, ['content-length', '0'], ['content-length', '0']]],
] as const satisfies readonly (readonly [string, HeaderList])[]) {
  test(`a request with ${what} is fine`, () => {
    const { peer, log } = readingServer()
    peer.openBidi(headersFrame(headers), { fin: true })
    staysOpen(peer)
    assert.equal(requests(log).length, 1)
  })
}

for (const [what, length, body] of [
  ['shorter', 5, [1, 2]],
  ['longer', 1, [1, 2]],
] as const) {
  // spec: RFC 9114 §4.1.2#2
  test(`a body ${what} than its content-length is H3_MESSAGE_ERROR`, () => {
    const { peer, log } = readingServer()
    const bytes = [...headersFrame([...POST, ['content-length', String(length)]]), ...frame(0x00, [...body])]
    const id = peer.openBidi(bytes, { fin: true })
    staysOpen(peer)
    assert.equal(peer.resetCode(id), h3ErrorCodes.H3_MESSAGE_ERROR)
    assert.equal(log.at(-1), 'error ERR_HTTP3_MESSAGE H3_MESSAGE_ERROR local')
  })
}

// spec: RFC 9114 §4.3#4
test('trailers with a pseudo-header field are H3_MESSAGE_ERROR', () => {
  const { peer } = readingServer()
  const id = peer.openBidi([...headersFrame(POST), ...headersFrame([[':path', '/']])], { fin: true })
  staysOpen(peer)
  assert.equal(peer.resetCode(id), h3ErrorCodes.H3_MESSAGE_ERROR)
})

const malformedResponses: readonly (readonly [string, number[]])[] = [
  ['no :status', headersFrame([['x', 'y']])],
  [
    'two :status',
    headersFrame([
      [':status', '200'],
      [':status', '200'],
    ]),
  ],
  [
    ':path',
    headersFrame([
      [':status', '200'],
      [':path', '/'],
    ]),
  ],
  ['a status of two digits', headersFrame([[':status', '20']])],
  ['status 101', headersFrame([[':status', '101']])],
  [
    'an upper-case name',
    headersFrame([
      [':status', '200'],
      ['Server', 'x'],
    ]),
  ],
  [
    'a wrong content-length',
    [
      ...headersFrame([
        [':status', '200'],
        ['content-length', '3'],
      ]),
      ...frame(0x00, [1]),
    ],
  ],
  ['nothing but 1xx', headersFrame([[':status', '103']])],
  ['no message at all', []],
  ['content on 204', [...headersFrame([[':status', '204']]), ...frame(0x00, [1])]],
]

for (const [what, bytes] of malformedResponses) {
  // spec: RFC 9114 §4.1.2#3, §4.3#2, §4.3.2
  test(`a response with ${what} is H3_MESSAGE_ERROR for that request only`, () => {
    const { peer, exchange, log } = clientWithRequest()
    peer.write(exchange.id, bytes)
    peer.raw.finish(exchange.id)
    staysOpen(peer)
    assert.equal(log.at(-1), 'error ERR_HTTP3_MESSAGE H3_MESSAGE_ERROR local')
  })
}

test('a response to HEAD may have a content-length and no content', () => {
  const { peer, exchange, log } = clientWithRequest('HEAD')
  peer.write(
    exchange.id,
    headersFrame([
      [':status', '200'],
      ['content-length', '1000'],
    ]),
  )
  peer.raw.finish(exchange.id)
  staysOpen(peer)
  assert.deepEqual(log, ['response 200'])
  assert.equal(exchange.isInboundEnded, true)
})

// spec: RFC 9114 §4.1#3, §7.2.1#1
test('DATA before the final response closes with H3_FRAME_UNEXPECTED', () => {
  const { peer, exchange } = clientWithRequest()
  peer.write(exchange.id, [...headersFrame([[':status', '103']]), ...frame(0x00, [1])])
  closesWith(peer, 'H3_FRAME_UNEXPECTED')
})

// spec: RFC 9114 §7.2.5#2
test('PUSH_PROMISE makes a client close with H3_ID_ERROR, for it allowed no push', () => {
  const { peer, exchange } = clientWithRequest()
  peer.write(exchange.id, frame(0x05, [0, 0, 0]))
  closesWith(peer, 'H3_ID_ERROR')
})

// spec: RFC 9114 §4.4#2
test('HEADERS in a CONNECT tunnel close with H3_FRAME_UNEXPECTED', () => {
  const { peer, exchange } = clientWithRequest('CONNECT')
  peer.write(exchange.id, [...headersFrame(OK), ...frame(0x00, [1]), ...headersFrame([['x', 'y']])])
  closesWith(peer, 'H3_FRAME_UNEXPECTED')
})

test('informational responses without end are H3_EXCESSIVE_LOAD', () => {
  const { peer, exchange } = clientWithRequest()
  for (let n = 0; n < 40; n++) peer.write(exchange.id, headersFrame([[':status', '102']]))
  staysOpen(peer)
  assert.equal(peer.stopCode(exchange.id), h3ErrorCodes.H3_EXCESSIVE_LOAD)
})
