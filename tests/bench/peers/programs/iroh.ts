/** `@number0/iroh` as server and client of the benchmark: `iroh.ts FOLDER ROLE name=value …`. No relay, no discovery. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Arguments, collectOnSignal, report } from './arguments.ts'
import { type BenchConnection, runClient } from './client.ts'
import { answer, DrivenStream, type PullStream } from './pull-streams.ts'

/** Its interface takes and gives bytes as arrays of numbers. */
type Bytes = readonly number[]

interface BiStream {
  readonly send: { writeAll(bytes: Bytes): Promise<void>; finish(): Promise<void> }
  readonly recv: { read(limit: number): Promise<Bytes> }
}

interface Connection {
  openBi(): Promise<BiStream>
  acceptBi(): Promise<BiStream>
  close(code: bigint, reason: Bytes): void
  setReceiveWindow(bytes: bigint): void
  setMaxConcurrentBiStreams(count: bigint): void
}

interface Endpoint {
  id(): { toString(): string }
  boundSockets(): readonly string[]
  acceptNext(): Promise<{ accept(): Promise<{ connect(): Promise<Connection> }> } | null>
  connect(address: unknown, alpn: Bytes): Promise<Connection>
}

interface Builder {
  alpns(names: readonly Bytes[]): void
  bindAddr(address: string): void
  relayMode(mode: unknown): void
  bind(): Promise<Endpoint>
}

interface Iroh {
  readonly Endpoint: { builder(): Builder }
  readonly EndpointAddr: new (id: unknown, relay: null, addresses: readonly string[]) => unknown
  readonly EndpointId: { fromString(text: string): unknown }
  readonly RelayMode: { disabled(): unknown }
  presetMinimal(builder: Builder): void
}

const [folder = '', ...words] = process.argv.slice(2)
const given = new Arguments(words)
const iroh = createRequire(join(folder, 'package.json'))('@number0/iroh') as Iroh

const ALPN: Bytes = [...Buffer.from('perf')]
/** An endpoint that nobody holds is collected, and its connections with it. */
const bound: Endpoint[] = []
/** Larger pieces are only slower: every byte becomes a number. */
const PIECE_BYTES = 64 * 1024

function pullStream({ send, recv }: BiStream): PullStream {
  return {
    write: async (bytes) => {
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
        await send.writeAll(Array.from(bytes.subarray(at, at + PIECE_BYTES)))
      }
    },
    finish: () => send.finish(),
    read: async () => {
      const bytes = await recv.read(PIECE_BYTES)
      return bytes.length === 0 ? undefined : Uint8Array.from(bytes)
    },
  }
}

async function bind(): Promise<Endpoint> {
  const builder = iroh.Endpoint.builder()
  iroh.presetMinimal(builder)
  builder.relayMode(iroh.RelayMode.disabled())
  builder.alpns([ALPN])
  builder.bindAddr('127.0.0.1:0')
  const endpoint = await builder.bind()
  bound.push(endpoint)
  return endpoint
}

collectOnSignal()
if (given.role === 'server') await serve()
else await runClient(given, { connect, chunkBytes: 16 * 1024 })

async function serve(): Promise<void> {
  const endpoint = await bind()
  const port = Number(
    endpoint
      .boundSockets()
      .find((socket) => socket.startsWith('127.'))
      ?.split(':')
      .at(-1),
  )
  report('listening', { port, peer: endpoint.id().toString() })
  for (let incoming = await endpoint.acceptNext(); incoming !== null; incoming = await endpoint.acceptNext()) {
    const accepting = await incoming.accept()
    void accepting.connect().then(serveConnection, () => {})
  }
}

async function serveConnection(connection: Connection): Promise<void> {
  widen(connection)
  for (;;) {
    const stream = await connection.acceptBi().catch(() => undefined)
    if (stream === undefined) return
    answer(pullStream(stream)).catch(() => {})
  }
}

function widen(connection: Connection): void {
  connection.setReceiveWindow(BigInt(32 << 20))
  connection.setMaxConcurrentBiStreams(20_000n)
}

/** Connections of one endpoint to another are joined into one, so each gets an endpoint of its own. */
async function connect(): Promise<BenchConnection> {
  const endpoint = await bind()
  const id = iroh.EndpointId.fromString(given.text('peer'))
  const connection = await endpoint.connect(
    new iroh.EndpointAddr(id, null, [`127.0.0.1:${given.number('port')}`]),
    ALPN,
  )
  widen(connection)
  return {
    resumed: undefined,
    early: undefined,
    settled: async () => {},
    open: async () => new DrivenStream(pullStream(await connection.openBi())),
    close: () => connection.close(0n, []),
  }
}
