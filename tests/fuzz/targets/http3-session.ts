/** Fuzzes a whole HTTP/3 session, either role: streams of any content, ends, resets, credit and application calls. */
import { h3ErrorName, Http3Error } from '../../../packages/http3/src/errors.ts'
import type { Exchange } from '../../../packages/http3/src/exchange.ts'
import type { HeaderList } from '../../../packages/http3/src/headers.ts'
import { Http3Session } from '../../../packages/http3/src/session.ts'
import { QuicStream, type QuicStreamParts } from '../../../packages/net/src/streams/quic-stream.ts'
import { headersFrame } from '../../../packages/http3/src/testing/raw-peer.ts'
import { type FuzzTarget, magnitude, promise, shape } from '../target.ts'
import { ScriptedTransport } from './scripted-transport.ts'
import { program, steps } from './steps.ts'

const STEPS_MAX = 96
const EVENTS_MAX = 4_096
const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

const requestHeaders: HeaderList = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', 'a.test'],
  [':path', '/text'],
]

const connectHeaders: HeaderList = [
  [':method', 'CONNECT'],
  [':protocol', 'x-echo'],
  [':scheme', 'https'],
  [':authority', 'a.test'],
  [':path', '/'],
]

/** Operations of a step; the argument chooses the stream. */
const Op = {
  Bytes: 0,
  BytesAndEnd: 1,
  Reset: 2,
  Stop: 3,
  Grant: 4,
  Read: 5,
  Write: 6,
  Finish: 7,
  Request: 8,
  Shutdown: 9,
  Cancel: 10,
  Deliver: 11,
  /** The argument is the quarter stream ID, or with an empty payload part of a broken one. */
  Datagram: 12,
  SendDatagram: 13,
} as const
const OPERATIONS = 14

const settings = bytes('00 04 04 01 40 64 07 04'.replace('04 04', '04 05'))
const get = bytes('01 0d 0000 d1 d7 50 06 612e74657374 c1')
const settingsWithAll = bytes('00 04 04 0801 3301')
const ok = bytes('01 03 0000 d9 00 05 68656c6c6f')

/** The low bit of the first byte is the role (1 = server), the next two bits choose how much credit there is, bit 3 the extensions, bit 4 WebTransport. */
export const http3Session: FuzzTarget = {
  name: 'http3-session',
  inputBytesMax: 1_500,
  seeds: () => [
    server(
      [Op.Bytes, 2, settings],
      [Op.BytesAndEnd, 0, get],
      [Op.Read, 0, bytes('')],
      [Op.Finish, 0, bytes('')],
      [Op.Deliver, 0, bytes('')],
    ),
    server(
      [Op.Bytes, 2, settings],
      [Op.Bytes, 6, bytes('02 3f45 c0 03 612e62')],
      [Op.Bytes, 10, bytes('03 80')],
      [Op.Bytes, 4, get],
      [Op.Reset, 4, bytes('')],
    ),
    server(
      [Op.Bytes, 2, settings],
      [Op.Bytes, 0, get],
      [Op.Bytes, 0, bytes('00 03 616263 01 07 0000 23 782d61 01 62')],
      [Op.Read, 0, bytes('')],
      [Op.Write, 0, bytes('616263')],
      [Op.Stop, 0, bytes('')],
      [Op.Shutdown, 0, bytes('')],
    ),
    client(
      [Op.Bytes, 3, settings],
      [Op.Request, 0, bytes('')],
      [Op.BytesAndEnd, 0, ok],
      [Op.Read, 0, bytes('')],
      [Op.Finish, 0, bytes('')],
      [Op.Deliver, 0, bytes('')],
    ),
    client(
      [Op.Request, 0, bytes('')],
      [Op.Bytes, 3, settings],
      [Op.Request, 0, bytes('')],
      [Op.Bytes, 3, bytes('07 01 04')],
      [Op.Write, 0, bytes('6162')],
      [Op.Cancel, 0, bytes('')],
    ),
    client(
      [Op.Bytes, 7, bytes('02 3f45')],
      [Op.Bytes, 3, settings],
      [Op.Request, 0, bytes('')],
      [Op.Bytes, 0, bytes('01 04 0381 1011')],
      [Op.Bytes, 7, bytes('c0 01 61 c1 01 62')],
      [Op.Read, 0, bytes('')],
    ),
    extendedServer(
      [Op.Datagram, 0, bytes('6562')],
      [Op.Bytes, 2, settingsWithAll],
      [Op.Bytes, 0, Uint8Array.from(headersFrame(connectHeaders))],
      [Op.SendDatagram, 0, bytes('616263')],
      [Op.Datagram, 0, bytes('64')],
      [Op.Bytes, 0, bytes('00 03 616263')],
      [Op.Read, 0, bytes('')],
      [Op.BytesAndEnd, 4, get],
      [Op.Datagram, 1, bytes('64')],
    ),
    webTransportServer(
      [Op.Bytes, 2, settingsWithAll],
      [Op.Bytes, 6, bytes('4054 00 6561726c79')],
      [Op.Bytes, 0, Uint8Array.from(headersFrame(connectHeaders))],
      [Op.Bytes, 4, bytes('4041 00 6869')],
      [Op.BytesAndEnd, 4, bytes('6a')],
      [Op.Bytes, 8, bytes('4041 04')],
      [Op.Reset, 6, bytes('')],
      [Op.Cancel, 0, bytes('')],
    ),
    webTransportClient(
      [Op.Bytes, 3, settingsWithAll],
      [Op.Request, 0, bytes('')],
      [Op.Bytes, 1, bytes('40')],
      [Op.Bytes, 1, bytes('41 00 6869')],
      [Op.Bytes, 0, ok],
      [Op.Stop, 1, bytes('')],
    ),
    extendedClient(
      [Op.Bytes, 3, settingsWithAll],
      [Op.Request, 0, bytes('')],
      [Op.Bytes, 0, ok],
      [Op.Datagram, 0, bytes('64')],
      [Op.SendDatagram, 0, bytes('616263')],
      [Op.Read, 0, bytes('')],
      [Op.Cancel, 0, bytes('')],
    ),
  ],
  dictionary: [
    '0000d1d7c1',
    '0000d9',
    '0004',
    '0400',
    '0700',
    '0d01',
    '0300',
    '800f0700',
    '21',
    '02',
    '03',
    '2f',
    '5f1d',
    '270061',
  ].map(bytes),
  run(input) {
    const run = new SessionRun(input[0] ?? 0)
    for (const step of steps(input.subarray(1), STEPS_MAX)) {
      run.step(step.operation % OPERATIONS, step.argument, step.payload)
      if (run.transport.closedWith !== undefined) break
    }
    return run.finish()
  },
}

type Steps = readonly (readonly [operation: number, argument: number, payload: Uint8Array])[]
const server = (...list: Steps) => Uint8Array.from([7, ...program(...list)])
const client = (...list: Steps) => Uint8Array.from([6, ...program(...list)])

const extendedServer = (...list: Steps) => Uint8Array.from([15, ...program(...list)])
const webTransportServer = (...list: Steps) => Uint8Array.from([31, ...program(...list)])
const webTransportClient = (...list: Steps) => Uint8Array.from([30, ...program(...list)])
const extendedClient = (...list: Steps) => Uint8Array.from([14, ...program(...list)])

class SessionRun {
  readonly transport: ScriptedTransport
  readonly #session: Http3Session
  readonly #exchanges = new Map<number, Exchange>()
  #requests = 0
  #failures = 0
  #bodyBytes = 0
  #datagrams = 0
  #streams = 0
  #taken = 0
  #arrivedBytes = 0
  #handled = 0
  #closedCalls = 0
  #nowUs = 0

  constructor(mode: number) {
    const isExtended = (mode & 8) !== 0
    const extensions = {
      extendedConnect: isExtended,
      datagrams: isExtended,
      webTransportSessions: (mode & 16) === 0 ? 0 : 4,
    }
    const role = (mode & 1) === 0 ? 'client' : 'server'
    this.transport = new ScriptedTransport(role, (mode & 4) === 0 ? 2 : 40)
    this.transport.creditBytes = (mode & 2) === 0 ? 8 : 100_000
    this.#session = new Http3Session({
      role,
      transport: this.transport,
      clock: () => this.#nowUs,
      config: { maxHeaderBytes: 1_024, qpackTableBytes: 256, qpackBlockedStreams: 4, resetBurst: 8, ...extensions },
      createStream: (parts) => this.#createStream(parts),
      onRequest: (exchange) => this.#onRequest(exchange),
      onClosed: () => this.#closedCalls++,
    })
    this.#session.handleEvent({ kind: 'connected', alpn: 'h3', resumed: false, earlyData: 'none' })
    this.#drain()
  }

  step(operation: number, argument: number, payload: Uint8Array): void {
    this.#nowUs += 1_000
    const { transport } = this
    const exchange =
      this.#exchanges.get(argument) ?? [...this.#exchanges.values()].at(argument % Math.max(1, this.#exchanges.size))
    const code = 0x100 + payload.length
    if (operation === Op.Bytes || operation === Op.BytesAndEnd) {
      if (transport.arrive(argument, payload, operation === Op.BytesAndEnd)) this.#arrivedBytes += payload.length
    } else if (operation === Op.Reset) transport.resetByPeer(argument, code)
    else if (operation === Op.Stop) transport.stopByPeer(argument, code)
    else if (operation === Op.Grant) this.#grant(argument)
    else if (operation === Op.Datagram) this.#datagram(argument, payload)
    else if (operation === Op.Deliver) transport.acknowledgeAll()
    else this.#application(() => this.#call(operation, exchange, payload))
    this.#drain()
  }

  /** The connection ends; whatever was open must fail exactly once. */
  finish(): string {
    const closedWith = this.transport.closedWith
    this.#session.handleEvent({ kind: 'closed', reason: { kind: 'idle', afterUs: 1 } })
    promise(this.#session.activeExchanges === 0, 'no exchange outlives the connection')
    promise(this.#closedCalls === 1, `onClosed was called ${this.#closedCalls} times`)
    promise(this.#taken <= this.#streams, 'only streams that were made are handed out')
    promise(this.#datagrams <= STEPS_MAX, 'no datagram comes twice')
    promise(this.#bodyBytes <= this.#arrivedBytes, 'no body is longer than what arrived')
    const code = closedWith === undefined ? 'open' : h3ErrorName(closedWith)
    const why = closedWith === undefined ? '' : shape(this.#session.closeError?.message ?? '')
    const counts = [this.#requests, this.#failures, this.#bodyBytes, this.transport.writtenBytes].map(magnitude)
    return `${code} ${why} ${counts.join(' ')}`
  }

  #datagram(argument: number, payload: Uint8Array): void {
    const data = payload.length === 0 ? Uint8Array.of(argument) : Uint8Array.from([argument & 0x3f, ...payload])
    this.transport.events.push({ kind: 'datagram', data })
  }

  #grant(argument: number): void {
    this.transport.streamsLeft += argument & 1
    this.transport.grant(argument * 8)
    this.transport.events.push({ kind: 'streamsAvailable', streamKind: 'unidirectional' })
    this.transport.events.push({ kind: 'streamsAvailable', streamKind: 'bidirectional' })
  }

  #call(operation: number, exchange: Exchange | undefined, payload: Uint8Array): void {
    if (operation === Op.Request) this.#request(payload.length % 2 === 1)
    else if (operation === Op.Shutdown) this.#session.shutdown()
    else if (exchange === undefined) return
    else if (operation === Op.Read) this.#read(exchange)
    else if (operation === Op.Write) exchange.writeBody(payload.slice())
    else if (operation === Op.SendDatagram) exchange.sendDatagram(payload)
    else if (operation === Op.Finish) exchange.finish(payload.length > 0 ? [['x-t', 'v']] : undefined)
    else exchange.cancel()
  }

  #request(endStream: boolean): void {
    if (this.#session.role !== 'client') return
    const headers = this.#session.peerSettings.allowsExtendedConnect && !endStream ? connectHeaders : requestHeaders
    const exchange = this.#session.request(headers, { endStream })
    if (exchange !== undefined) this.#adopt(exchange)
  }

  #onRequest(exchange: Exchange): void {
    this.#requests++
    this.#adopt(exchange)
    const { method, path } = exchange.request
    promise(typeof method === 'string' && (path === undefined || typeof path === 'string'), 'a request is whole')
    this.#application(() => exchange.respond(200, [['x-a', 'b']]))
    if (exchange.request.protocol !== undefined) this.#registerSession(exchange)
  }

  #adopt(exchange: Exchange): void {
    let isClosed = false
    this.#exchanges.set(exchange.id, exchange)
    exchange.events = {
      ...((exchange.id & 4) === 0 ? {} : { onDatagram: () => this.#datagrams++ }),
      onInboundError: () => this.#failures++,
      onOutboundError: () => this.#failures++,
      onClosed: () => {
        promise(!isClosed, `exchange ${exchange.id} closed twice`)
        isClosed = true
        this.#exchanges.delete(exchange.id)
        this.#session.webTransport?.unregister(exchange.id)
      },
    }
  }

  /** A stream of a WebTransport session, which reads what comes. */
  #createStream(parts: QuicStreamParts): QuicStream {
    const stream = new QuicStream(parts)
    this.#streams++
    if (stream.isReadable) void stream.bytes(1_000).catch(() => undefined)
    return stream
  }

  /** The session behind an accepted CONNECT takes what the peer opens for it. */
  #registerSession(exchange: Exchange): void {
    this.#session.webTransport?.register({ id: exchange.id, onStream: () => this.#taken++, drain: () => undefined })
  }

  #read(exchange: Exchange): void {
    exchange.readBody((chunk) => {
      this.#bodyBytes += chunk.length
    })
  }

  /** The only exception that a call may throw says that the caller's moment was wrong. */
  #application(call: () => void): void {
    try {
      call()
    } catch (error) {
      if (!(error instanceof Http3Error)) throw error
    }
  }

  #drain(): void {
    for (let event = this.transport.events.shift(); event !== undefined; event = this.transport.events.shift()) {
      this.#handled++
      promise(this.#handled <= EVENTS_MAX, 'events come to an end')
      this.#session.handleEvent(event)
    }
  }
}
