/** This engine as server and client of the benchmark: raw streams over @quicether/net. */
import { ClientContext, connect, listen, type QuicConnection } from '@quicether/net'
import type { StreamId, StreamTransport, TransportConfig } from '@quicether/transport'
import { Arguments, collectOnSignal, ECHO, report } from './arguments.ts'
import { type BenchConnection, type BenchStream, runClient } from './client.ts'

const ALPN = ['perf']
const CHUNK = new Uint8Array(256 * 1024).fill(7)
const HEAD_BYTES = 8

const config: Partial<TransportConfig> = { maxStreamsBidi: 20_000, idleTimeoutUs: 120_000_000 }

const given = new Arguments()

async function serve(): Promise<void> {
  const listener = await listen(
    {
      addresses: ['127.0.0.1'],
      port: 0,
      identities: [{ certificate: given.pem('certificate'), privateKey: given.pem('key') }],
      alpn: ALPN,
      earlyData: true,
      config,
    },
    (connection) => new ServedConnection(connection),
  )
  process.on('SIGTERM', () => void listener.close().then(() => process.exit(0)))
  report('listening', { port: listener.port })
}

interface Served {
  /** Bytes of the head still to come. */
  headLeft: number
  count: number
  /** Bytes of the answer still to be written. */
  left: number
  isAnswering: boolean
  /** An echo that was not taken yet. */
  pending: Uint8Array | undefined
}

/** Answers the streams of one connection. */
class ServedConnection {
  readonly #transport: StreamTransport
  readonly #streams: Map<StreamId, Served> = new Map()

  constructor(connection: QuicConnection) {
    this.#transport = connection.transport
    connection.onEvent = (event) => {
      if (event.kind === 'readable') this.#onReadable(event.id)
      else if (event.kind === 'writable') this.#onWritable(event.id)
      else if (event.kind === 'streamStopped' || event.kind === 'streamReset') this.#streams.delete(event.id)
    }
  }

  #onReadable(id: StreamId): void {
    let served = this.#streams.get(id)
    if (served === undefined) {
      served = { headLeft: HEAD_BYTES, count: 0, left: 0, isAnswering: false, pending: undefined }
      this.#streams.set(id, served)
    }
    const stream = served
    const status = this.#transport.read(id, (chunk) => this.#take(id, stream, chunk))
    if (status === 'blocked') return
    if (status === 'reset') return void this.#streams.delete(id)
    if (stream.count === ECHO) return this.#finish(id)
    stream.left = stream.count
    stream.isAnswering = true
    this.#onWritable(id)
  }

  #take(id: StreamId, stream: Served, chunk: Uint8Array): void {
    let at = 0
    for (; stream.headLeft > 0 && at < chunk.length; at++, stream.headLeft--) {
      stream.count = stream.count * 256 + (chunk[at] as number)
    }
    if (stream.count !== ECHO || stream.headLeft > 0 || at === chunk.length) return
    const fresh = chunk.slice(at)
    const echo = stream.pending === undefined ? fresh : Buffer.concat([stream.pending, fresh])
    stream.pending = this.#rest(id, echo)
  }

  #rest(id: StreamId, bytes: Uint8Array): Uint8Array | undefined {
    const taken = this.#transport.write(id, bytes)
    return taken === bytes.length ? undefined : bytes.subarray(taken)
  }

  #onWritable(id: StreamId): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    if (stream.pending !== undefined) stream.pending = this.#rest(id, stream.pending)
    if (!stream.isAnswering) return
    while (stream.left > 0) {
      const piece = stream.left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, stream.left)
      const taken = this.#transport.write(id, piece)
      stream.left -= taken
      if (taken < piece.length) return
    }
    this.#finish(id)
  }

  #finish(id: StreamId): void {
    this.#transport.finish(id)
    this.#streams.delete(id)
  }
}

let shared: ClientContext | undefined

async function openConnection(mode: 'full' | 'resumed' | 'early'): Promise<BenchConnection> {
  shared ??= new ClientContext({
    trust: { kind: 'ca', ca: [given.pem('ca')] },
    ...(mode === 'full' ? { sessionsMax: 0 } : {}),
  })
  const connection = await connect({
    host: '127.0.0.1',
    port: given.number('port'),
    serverName: 'localhost',
    alpn: ALPN,
    context: shared,
    earlyData: mode === 'early',
    config,
  })
  return new OwnConnection(connection)
}

/** Streams of a connection by their callbacks. */
class OwnConnection implements BenchConnection {
  readonly #connection: QuicConnection
  readonly #streams: Map<StreamId, OwnStream> = new Map()
  readonly #waiting: ((stream: OwnStream) => void)[] = []
  readonly #confirmed = Promise.withResolvers<void>()

  constructor(connection: QuicConnection) {
    this.#connection = connection
    connection.onEvent = (event) => {
      if (event.kind === 'readable') this.#streams.get(event.id)?.pull()
      else if (event.kind === 'writable') this.#streams.get(event.id)?.onWritable()
      else if (event.kind === 'streamsAvailable') this.#admit()
      else if (event.kind === 'confirmed' || event.kind === 'closed') this.#confirmed.resolve()
    }
  }

  get resumed(): boolean | undefined {
    return this.#connection.handshake?.resumed
  }

  get early(): boolean | undefined {
    return this.#connection.handshake?.earlyData === 'accepted'
  }

  /** A ticket serves once and comes about when the handshake is confirmed: the next connection needs one. */
  async settled(): Promise<void> {
    await this.#connection.connected
    await this.#confirmed.promise
  }

  open(): BenchStream | Promise<BenchStream> {
    return this.#open() ?? new Promise((resolve) => this.#waiting.push(resolve))
  }

  #open(): OwnStream | undefined {
    const id = this.#connection.transport.openStream('bidirectional')
    if (id === undefined) return undefined
    const stream = new OwnStream(this.#connection.transport, id, () => this.#streams.delete(id))
    this.#streams.set(id, stream)
    return stream
  }

  #admit(): void {
    while (this.#waiting.length > 0) {
      const stream = this.#open()
      if (stream === undefined) return
      this.#waiting.shift()?.(stream)
    }
  }

  close(): void {
    void this.#connection.close()
  }
}

class OwnStream implements BenchStream {
  onData: (bytes: number) => void = () => {}
  onEnd: () => void = () => {}
  readonly #transport: StreamTransport
  readonly #id: StreamId
  readonly #onDone: () => void
  readonly #count = (chunk: Uint8Array): void => this.onData(chunk.length)
  #queued: Uint8Array | undefined
  #source: (() => Uint8Array | undefined) | undefined
  #isFinishing = false

  constructor(transport: StreamTransport, id: StreamId, onDone: () => void) {
    this.#transport = transport
    this.#id = id
    this.#onDone = onDone
  }

  pull(): void {
    if (this.#transport.read(this.#id, this.#count) === 'blocked') return
    this.#onDone()
    this.onEnd()
  }

  /** Small pieces only: one that is not taken at once waits whole. */
  write(bytes: Uint8Array): void {
    if (this.#queued !== undefined) {
      this.#queued = Buffer.concat([this.#queued, bytes])
      return
    }
    const taken = this.#transport.write(this.#id, bytes)
    if (taken < bytes.length) this.#queued = bytes.subarray(taken)
  }

  finish(): void {
    if (this.#queued === undefined) this.#transport.finish(this.#id)
    else this.#isFinishing = true
  }

  pump(source: () => Uint8Array | undefined): void {
    this.#source = source
    this.onWritable()
  }

  onWritable(): void {
    for (;;) {
      const bytes = this.#queued ?? this.#source?.()
      if (bytes === undefined) break
      const taken = this.#transport.write(this.#id, bytes)
      this.#queued = taken < bytes.length ? bytes.subarray(taken) : undefined
      if (this.#queued !== undefined) return
    }
    if (this.#isFinishing || this.#source !== undefined) this.#transport.finish(this.#id)
    this.#source = undefined
    this.#isFinishing = false
  }
}

collectOnSignal()
if (given.role === 'server') await serve()
else await runClient(given, { connect: openConnection })
