import assert from 'node:assert/strict'
import { test } from 'node:test'
import { h3ErrorCodes, type H3ErrorName } from './errors.ts'
import type { Exchange } from './exchange.ts'
import { emptySettings, frame, headersFrame, RawPeer, varint } from './testing/raw-peer.ts'
import {
  clientWithRequest,
  closesWith,
  CONTROL,
  DECODER,
  ENCODER,
  GET,
  OK,
  POST,
  PUSH,
  readingServer,
  requests,
  staysOpen,
} from './testing/session-fixtures.ts'

// ---- control stream, both roles ----

// spec: RFC 9114 §6.2.1#2, §7.1#2, §7.1#3, §7.2.1#2, §7.2.2, §7.2.3#7, §7.2.3#8, §7.2.4#3, §7.2.4#6, §7.2.4.1#4, §7.2.5#9, §7.2.6#1, §5.2#6, §7.2.7#3, §7.2.7#4, §7.2.8#3
const controlErrors: readonly (readonly ['client' | 'server' | 'both', string, number[], H3ErrorName])[] = [
  ['both', 'a control stream that starts with GOAWAY', frame(0x07, [0]), 'H3_MISSING_SETTINGS'],
  ['both', 'a control stream that starts with a reserved frame', frame(0x21, [0]), 'H3_MISSING_SETTINGS'],
  ['both', 'a second SETTINGS', [...emptySettings, ...emptySettings], 'H3_FRAME_UNEXPECTED'],
  ['both', 'DATA on the control stream', [...emptySettings, ...frame(0x00, [1])], 'H3_FRAME_UNEXPECTED'],
  ['both', 'HEADERS on the control stream', [...emptySettings, ...headersFrame(GET)], 'H3_FRAME_UNEXPECTED'],
  ['both', 'PUSH_PROMISE on the control stream', [...emptySettings, ...frame(0x05, [0])], 'H3_FRAME_UNEXPECTED'],
  ['both', 'HTTP/2 PRIORITY', [...emptySettings, ...frame(0x02)], 'H3_FRAME_UNEXPECTED'],
  ['both', 'HTTP/2 PING', [...emptySettings, ...frame(0x06)], 'H3_FRAME_UNEXPECTED'],
  ['both', 'HTTP/2 WINDOW_UPDATE', [...emptySettings, ...frame(0x08)], 'H3_FRAME_UNEXPECTED'],
  ['both', 'HTTP/2 CONTINUATION', [...emptySettings, ...frame(0x09)], 'H3_FRAME_UNEXPECTED'],
  ['both', 'an HTTP/2 setting', frame(0x04, [0x03, 0x01]), 'H3_SETTINGS_ERROR'],
  ['both', 'a setting twice', frame(0x04, [0x06, 0x01, 0x06, 0x01]), 'H3_SETTINGS_ERROR'],
  ['both', 'SETTINGS that end inside a value', frame(0x04, [0x06]), 'H3_FRAME_ERROR'],
  ['both', 'SETTINGS of a megabyte', [0x04, ...varint(1_048_576)], 'H3_EXCESSIVE_LOAD'],
  ['both', 'an empty GOAWAY', [...emptySettings, ...frame(0x07)], 'H3_FRAME_ERROR'],
  ['both', 'a GOAWAY with bytes behind its ID', [...emptySettings, ...frame(0x07, [0, 0])], 'H3_FRAME_ERROR'],
  ['both', 'a GOAWAY that rises', [...emptySettings, ...frame(0x07, [4]), ...frame(0x07, [8])], 'H3_ID_ERROR'],
  ['client', 'a GOAWAY for a stream that is no request', [...emptySettings, ...frame(0x07, [3])], 'H3_ID_ERROR'],
  ['client', 'MAX_PUSH_ID from a server', [...emptySettings, ...frame(0x0d, [3])], 'H3_FRAME_UNEXPECTED'],
  ['client', 'PRIORITY_UPDATE from a server', [...emptySettings, ...frame(0xf0700, [0])], 'H3_FRAME_UNEXPECTED'],
  ['both', 'CANCEL_PUSH without a push', [...emptySettings, ...frame(0x03, [0])], 'H3_ID_ERROR'],
  ['server', 'MAX_PUSH_ID that falls', [...emptySettings, ...frame(0x0d, [3]), ...frame(0x0d, [2])], 'H3_ID_ERROR'],
  ['server', 'MAX_PUSH_ID that is cut', [...emptySettings, ...frame(0x0d, [0x40])], 'H3_FRAME_ERROR'],
  ['server', 'PRIORITY_UPDATE of a push', [...emptySettings, ...frame(0xf0701, [0])], 'H3_ID_ERROR'],
  ['server', 'PRIORITY_UPDATE of a unidirectional stream', [...emptySettings, ...frame(0xf0700, [2])], 'H3_ID_ERROR'],
  ['server', 'PRIORITY_UPDATE without an ID', [...emptySettings, ...frame(0xf0700)], 'H3_FRAME_ERROR'],
]

for (const [who, what, bytes, name] of controlErrors) {
  for (const role of ['client', 'server'] as const) {
    if (who !== 'both' && who !== role) continue
    test(`${what} makes a ${role} close with ${name}`, () => {
      const peer = new RawPeer(role)
      peer.openUni(CONTROL, bytes)
      closesWith(peer, name)
    })
  }
}

// ---- critical and other unidirectional streams ----

for (const [type, name] of [
  [CONTROL, 'control'],
  [ENCODER, 'QPACK encoder'],
  [DECODER, 'QPACK decoder'],
] as const) {
  const start = type === CONTROL ? emptySettings : []
  // spec: RFC 9114 §6.2.1#3, RFC 9204 §4.2#2
  test(`a second ${name} stream closes with H3_STREAM_CREATION_ERROR`, () => {
    const peer = new RawPeer('server')
    peer.openUni(type, start)
    staysOpen(peer)
    peer.openUni(type, start)
    closesWith(peer, 'H3_STREAM_CREATION_ERROR')
  })

  // spec: RFC 9114 §6.2.1#6, RFC 9204 §4.2#5
  test(`the end of the ${name} stream closes with H3_CLOSED_CRITICAL_STREAM`, () => {
    const peer = new RawPeer('client')
    const id = peer.openUni(type, start)
    peer.raw.finish(id)
    closesWith(peer, 'H3_CLOSED_CRITICAL_STREAM')
  })

  // spec: RFC 9114 §6.2.1#6, RFC 9204 §4.2#5
  test(`a reset of the ${name} stream closes with H3_CLOSED_CRITICAL_STREAM`, () => {
    const peer = new RawPeer('client')
    peer.raw.reset(peer.openUni(type, start), 0)
    closesWith(peer, 'H3_CLOSED_CRITICAL_STREAM')
  })

  // spec: RFC 9114 §6.2.1#5, RFC 9204 §4.2#4
  test(`a request to stop our ${name} stream closes with H3_CLOSED_CRITICAL_STREAM`, () => {
    const peer = new RawPeer('server')
    peer.network.run()
    const ours = [CONTROL, ENCODER, DECODER].indexOf(type) * 4 + 3
    assert.equal(peer.received(ours)[0], type)
    peer.raw.stop(ours, 0)
    closesWith(peer, 'H3_CLOSED_CRITICAL_STREAM')
  })
}

// spec: RFC 9114 §6.2#4, §6.2#6, §6.2.3, §9#2
test('a stream of unknown type is stopped with H3_STREAM_CREATION_ERROR and the connection goes on', () => {
  const peer = new RawPeer('server')
  const id = peer.openUni(0x21 + 0x1f * 7, [1, 2, 3])
  staysOpen(peer)
  assert.equal(peer.stopCode(id), h3ErrorCodes.H3_STREAM_CREATION_ERROR)
})

// spec: RFC 9114 §6.2#9
test('a stream that ends or is reset before its type is known is tolerated', () => {
  const peer = new RawPeer('server')
  const cut = peer.raw.openStream('unidirectional') as number
  peer.write(cut, [0x40])
  peer.raw.finish(cut)
  const reset = peer.raw.openStream('unidirectional') as number
  peer.write(reset, [0xc0, 0])
  peer.raw.reset(reset, 0)
  staysOpen(peer)
})

// spec: RFC 9114 §4.6#2, §6.2.2#4
test('a push stream makes a client close with H3_ID_ERROR', () => {
  const peer = new RawPeer('client')
  peer.openUni(PUSH, [0])
  closesWith(peer, 'H3_ID_ERROR')
})

// spec: RFC 9114 §6.2.2#1
test('a push stream makes a server close with H3_STREAM_CREATION_ERROR', () => {
  const peer = new RawPeer('server')
  peer.openUni(PUSH, [0])
  closesWith(peer, 'H3_STREAM_CREATION_ERROR')
})

// spec: RFC 9114 §6.1#3
test('a request stream opened by a server makes a client close with H3_STREAM_CREATION_ERROR', () => {
  const peer = new RawPeer('client')
  peer.openBidi(frame(0x00, [1]))
  closesWith(peer, 'H3_STREAM_CREATION_ERROR')
})

// spec: RFC 9204 §2.2.3#1, §4.3.1#2, §4.4.1
test('bad QPACK instructions close with the QPACK error of their stream', () => {
  const encoder = new RawPeer('server')
  encoder.openUni(ENCODER, [0x3f, 0xe2, 0x1f])
  closesWith(encoder, 'QPACK_ENCODER_STREAM_ERROR')
  const decoder = new RawPeer('server')
  decoder.openUni(DECODER, [0x84])
  closesWith(decoder, 'QPACK_DECODER_STREAM_ERROR')
  const sections = new RawPeer('server')
  sections.openBidi(frame(0x01, [0x00, 0x00, 0x80]))
  closesWith(sections, 'QPACK_DECOMPRESSION_FAILED')
})

// ---- what we send ----

// spec: RFC 9114 §3.2#3, §6.2.1#1, §7.2.4#1, §7.2.4.2#3, §7.2.4.2#4, RFC 9204 §4.2#1
test('our control stream starts with SETTINGS and holds reserved codepoints; a reserved stream follows', () => {
  const peer = new RawPeer('client', { grease: 5 })
  peer.network.run()
  const control = peer.received(2)
  assert.equal(control[0], 0x00)
  assert.equal(control[1], 0x04)
  assert.deepEqual(
    [6, 10].map((id) => peer.received(id)[0]),
    [0x02, 0x03],
  )
  const reserved = peer.received(14)
  assert.equal((((reserved[0] as number) & 0x3f) * 256 + (reserved[1] as number) - 0x21) % 0x1f, 0)
  staysOpen(peer)
})

test('critical streams are opened as far as the peer allows, and a GOAWAY waits for its stream', () => {
  const peer = new RawPeer('server', {}, { unidirectionalMax: 0 })
  peer.network.run()
  assert.equal(peer.events.length, 0)
  peer.session.shutdown()
  peer.network.server.allow('unidirectional', 1)
  peer.network.run()
  assert.deepEqual([...peer.received(3)].slice(0, 2), [0x00, 0x04])
  assert.deepEqual([...peer.received(3)].slice(-3), [0x07, 0x01, 0x00])
  assert.equal(peer.received(7).length, 0)
  peer.network.server.allow('unidirectional', 3)
  peer.network.run()
  assert.deepEqual(
    [7, 11].map((id) => peer.received(id)[0]),
    [0x02, 0x03],
  )
  staysOpen(peer)
})

// ---- GOAWAY ----

// spec: RFC 9114 §5.2#3
test('requests at and above a GOAWAY of the server fail as not processed; those below go on', () => {
  const peer = new RawPeer('client')
  const log: string[] = []
  const exchanges = [0, 1, 2].map((n) => {
    const exchange = peer.session.request(GET, {
      endStream: true,
      events: {
        onReadable: () => exchange?.readBody(() => undefined),
        onResponse: () => log.push(`${n} response`),
        onInboundError: (error) => log.push(`${n} ${error.code}`),
      },
    })
    return exchange
  })
  peer.network.run()
  peer.openUni(CONTROL, [...emptySettings, ...frame(0x07, [4])])
  peer.write(0, headersFrame(OK))
  peer.raw.finish(0)
  staysOpen(peer)
  assert.deepEqual(log, ['1 ERR_HTTP3_GOING_AWAY', '2 ERR_HTTP3_GOING_AWAY', '0 response'])
  assert.ok(exchanges.every((exchange) => exchange?.isClosed))
  assert.throws(() => peer.session.request(GET, { endStream: true }), { code: 'ERR_HTTP3_GOING_AWAY' })
})

test('the largest GOAWAY, 2^62-4, announces the end and fails nothing', () => {
  const { peer, log } = clientWithRequest()
  peer.openUni(CONTROL, [...emptySettings, 0x07, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc])
  staysOpen(peer)
  assert.deepEqual(log, [])
  assert.equal(peer.session.isShuttingDown, true)
})

// spec: RFC 9114 §4.1.1#4, §5.2#5
test('a server that shuts down names the next request and rejects it with H3_REQUEST_REJECTED', () => {
  let isDrained = false
  const held: Exchange[] = []
  const peer = new RawPeer('server', {
    onRequest: (exchange) => held.push(exchange),
    onDrained: () => (isDrained = true),
  })
  peer.openBidi(headersFrame(GET), { fin: true })
  peer.session.shutdown()
  peer.network.run()
  assert.deepEqual([...peer.received(3)].slice(-3), [0x07, 0x01, 0x04])
  const late = peer.openBidi(headersFrame(GET))
  assert.equal(peer.resetCode(late), h3ErrorCodes.H3_REQUEST_REJECTED)
  assert.equal(peer.stopCode(late), h3ErrorCodes.H3_REQUEST_REJECTED)
  assert.equal(isDrained, false)
  held[0]?.respond(200, [], { endStream: true })
  held[0]?.stopReading('H3_NO_ERROR')
  staysOpen(peer)
  assert.equal(isDrained, true)
})

// ---- attacks ----

test('rapid resets close with H3_EXCESSIVE_LOAD; the same number of finished requests does not', () => {
  const options = {
    config: { resetBurst: 20 },
    onRequest: (exchange: Exchange) => exchange.respond(200, [], { endStream: true }),
  }
  const honest = new RawPeer('server', options, { bidirectionalMax: 1_000 })
  for (let n = 0; n < 100; n++) honest.openBidi(headersFrame(GET), { fin: true })
  staysOpen(honest)
  const hostile = new RawPeer('server', options, { bidirectionalMax: 1_000 })
  for (let n = 0; n < 21; n++) {
    const id = hostile.openBidi(headersFrame(GET))
    hostile.raw.reset(id, h3ErrorCodes.H3_REQUEST_CANCELLED)
    hostile.raw.stop(id, h3ErrorCodes.H3_REQUEST_CANCELLED)
    hostile.network.run()
    assert.equal(hostile.closeCode === undefined, n < 20, `after ${n + 1} resets`)
  }
  closesWith(hostile, 'H3_EXCESSIVE_LOAD')
})

test('resets are forgiven as time goes by', () => {
  let nowUs = 0
  const peer = new RawPeer(
    'server',
    { config: { resetBurst: 5, resetRefillPerSecond: 1 }, clock: () => nowUs },
    { bidirectionalMax: 1_000 },
  )
  for (let n = 0; n < 50; n++) {
    nowUs += 1_000_000
    peer.raw.reset(peer.openBidi(headersFrame(GET)), 0x10c)
    peer.network.run()
  }
  staysOpen(peer)
})

test('requests whose headers do not come are given up after a time, the others go on', () => {
  let nowUs = 1_000
  const peer = new RawPeer('server', { clock: () => nowUs, onRequest: () => {} })
  const head = headersFrame(GET)
  const dripping = peer.openBidi(head.slice(0, 5))
  const whole = peer.openBidi(head)
  peer.network.run()
  assert.equal(peer.session.rejectUnheard(nowUs), 0)
  nowUs = 5_000
  const late = peer.openBidi(head.slice(0, 1))
  peer.network.run()
  assert.equal(peer.session.rejectUnheard(nowUs), 1)
  peer.network.run()
  for (const [id, code] of [
    [dripping, h3ErrorCodes.H3_REQUEST_INCOMPLETE],
    [whole, undefined],
    [late, undefined],
  ] as const) {
    assert.equal(peer.resetCode(id), code)
    assert.equal(peer.stopCode(id), code)
  }
  assert.equal(peer.session.activeExchanges, 2)
  staysOpen(peer)
})

test('a peer that never reads our decoder stream is cut off, not stored', () => {
  const config = { resetBurst: 1_000_000 }
  const peer = new RawPeer('server', { config }, { windowBytes: 64, bidirectionalMax: 1_000_000 })
  peer.raw.onEvent = null
  let resets = 0
  // Each reset stream makes us owe one cancellation.
  for (; resets < 60_000 && peer.closeCode === undefined; resets++) {
    const id = resets * 4
    peer.session.handleEvent({ kind: 'streamOpened', id })
    peer.session.handleEvent({ kind: 'streamStopped', id, code: 0x100 })
    peer.session.handleEvent({ kind: 'streamReset', id, code: 0x100 })
    assert.equal(peer.session.activeExchanges, 0)
  }
  assert.equal(peer.closeCode, h3ErrorCodes.H3_EXCESSIVE_LOAD)
  assert.match(peer.session.closeError?.message ?? '', /does not read our QPACK decoder stream/)
  assert.ok(resets > 10_000, `${resets} resets`)
})

// spec: RFC 9204 §2.2
test('headers blocked on the encoder stream are delivered when it arrives, in whatever pieces', () => {
  const { peer, log } = readingServer()
  const encoder = peer.openUni(ENCODER)
  // Required Insert Count 1: the :authority is entry 0
  const blocked = [0x02, 0x00, 0xd1, 0xd7, 0xc1, 0x80]
  peer.openBidi(frame(0x01, blocked), { fin: true })
  assert.deepEqual(log, [])
  for (const byte of [0x3f, 0xbd, 0x01, 0xc0, 0x03, 0x61, 0x2e, 0x62]) peer.write(encoder, [byte])
  staysOpen(peer)
  assert.deepEqual(requests(log), ['GET /'])
})

test('a session that hears nothing but noise never throws', () => {
  for (let seed = 1; seed <= 200; seed++) {
    let state = seed
    const random = () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return state >>> 16
    }
    const peer = new RawPeer(seed % 2 === 0 ? 'client' : 'server', {}, { seed })
    for (let n = 0; n < 6 && peer.closeCode === undefined; n++) {
      const bytes = Array.from({ length: 1 + (random() % 40) }, () => random() & 0xff)
      const types = [CONTROL, ENCODER, DECODER, 0x21]
      if (random() % 2 === 0)
        peer.openUni(types[random() % 4] as number, random() % 2 === 0 ? [...emptySettings, ...bytes] : bytes)
      else peer.openBidi([...(random() % 2 === 0 ? headersFrame(POST) : []), ...bytes], { fin: random() % 2 === 0 })
    }
    if (peer.closeCode !== undefined) assert.ok(peer.closeCode >= 0x100 && peer.closeCode <= 0x202)
  }
})
