/** `@matrixai/quic` as server and client of the benchmark: `matrixai.ts FOLDER ROLE name=value …`. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Arguments, collectOnSignal, report } from './arguments.ts'
import { type BenchConnection, runClient } from './client.ts'
import { answer, DrivenStream, type PullStream } from './pull-streams.ts'

interface Stream {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
}

interface Connection extends EventTarget {
  newStream(kind: 'bidi'): Stream
}

interface Detailed<T> extends Event {
  readonly detail: T
}

interface Quic {
  readonly QUICServer: new (
    options: unknown,
  ) => EventTarget & {
    readonly port: number
    start(options: { host: string; port: number }): Promise<void>
  }
  readonly QUICClient: {
    createQUICClient(options: unknown): Promise<{ readonly connection: Connection; destroy(o: unknown): Promise<void> }>
  }
  readonly events: {
    readonly EventQUICServerConnection: { readonly name: string }
    readonly EventQUICConnectionStream: { readonly name: string }
  }
}

interface Log {
  readonly default: new (name: string, level: number) => unknown
}

/** Its logger writes every event to the terminal unless told otherwise. */
const SILENT = 100

const [folder = '', ...words] = process.argv.slice(2)
const given = new Arguments(words)
const load = (name: string): Promise<unknown> =>
  import(pathToFileURL(join(folder, 'node_modules', '@matrixai', name, 'dist', 'index.js')).href)
const { QUICServer, QUICClient, events } = (await load('quic')) as Quic
const logger = new ((await load('logger')) as Log).default('silent', SILENT)

/** The largest values that make it faster; its documentation has no other advice. */
const config = {
  maxIdleTimeout: 120_000,
  maxSendUdpPayloadSize: 1_452,
  initialMaxData: 32 << 20,
  initialMaxStreamDataBidiLocal: 16 << 20,
  initialMaxStreamDataBidiRemote: 16 << 20,
  initialMaxStreamsBidi: 20_000,
  maxConnectionWindow: 32 << 20,
  maxStreamWindow: 16 << 20,
  readableChunkSize: 64 << 10,
}

function pullStream({ readable, writable }: Stream): PullStream {
  const reader = readable.getReader()
  const writer = writable.getWriter()
  return {
    write: (bytes) => writer.write(bytes),
    finish: () => writer.close(),
    read: async () => (await reader.read()).value,
  }
}

collectOnSignal()
if (given.role === 'server') await serve()
else await runClient(given, { connect, chunkBytes: 16 * 1024 })

async function serve(): Promise<void> {
  const key = randomBytes(32)
  const seal = (data: ArrayBuffer) => createHmac('sha256', key).update(Buffer.from(data)).digest()
  const server = new QUICServer({
    logger,
    crypto: {
      key: key.buffer,
      ops: {
        sign: async (_key: ArrayBuffer, data: ArrayBuffer) => new Uint8Array(seal(data)).buffer,
        verify: async (_key: ArrayBuffer, data: ArrayBuffer, mac: ArrayBuffer) =>
          timingSafeEqual(seal(data), Buffer.from(mac)),
      },
    },
    config: { ...config, key: given.pem('key').pem, cert: given.pem('certificate').pem, verifyPeer: false },
  })
  server.addEventListener(events.EventQUICServerConnection.name, (event) => {
    const connection = (event as Detailed<Connection>).detail
    connection.addEventListener(events.EventQUICConnectionStream.name, (opened) => {
      answer(pullStream((opened as Detailed<Stream>).detail)).catch(() => {})
    })
  })
  await server.start({ host: '127.0.0.1', port: 0 })
  report('listening', { port: server.port })
}

async function connect(): Promise<BenchConnection> {
  const client = await QUICClient.createQUICClient({
    logger,
    host: '127.0.0.1',
    localHost: '127.0.0.1',
    port: given.number('port'),
    serverName: 'localhost',
    crypto: { ops: { randomBytes: async (data: ArrayBuffer) => void crypto.getRandomValues(new Uint8Array(data)) } },
    config: { ...config, ca: given.pem('ca').pem, verifyPeer: true },
  })
  return {
    resumed: undefined,
    early: undefined,
    settled: async () => {},
    open: () => new DrivenStream(pullStream(client.connection.newStream('bidi'))),
    close: () => void client.destroy({ force: true }),
  }
}
