/** QuicEther as a peer of the interop runner: an HTTP/3 client or server told what to do by a JSON file. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Http3Client, type ServerRequest, type ServerResponse, serveHttp3 } from '@quicether/http3'
import { createNativeCrypto, systemRandom } from '@quicether/native'
import {
  ClientContext,
  connect,
  type Diagnostics,
  Driver,
  listen,
  nowUs,
  openDiagnostics,
  QuicConnection,
  type QuicListener,
  UdpPort,
} from '@quicether/net'
import { Endpoint, Level, type TransportConfig } from '@quicether/transport'
import { bodyChunks } from './body.ts'
import type {
  CipherName,
  ClientSpec,
  ConnectionSpec,
  RequestSpec,
  ResponseFacts,
  ServerSpec,
  VersionName,
} from './spec.ts'

const H3_NO_ERROR = 0x100
const TEXT_BYTES_MAX = 4096
const LINGER_MS = 100

function report(event: string, facts: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

const versionNumbers: Readonly<Record<VersionName, number>> = { 1: 0x1, 2: 0x6b3343cf, reserved: 0x1a2a3a4a }
const cipherNames: Readonly<Record<CipherName, string>> = {
  aes128: 'TLS_AES_128_GCM_SHA256',
  aes256: 'TLS_AES_256_GCM_SHA384',
  chacha20: 'TLS_CHACHA20_POLY1305_SHA256',
}

function configOf(spec: ClientSpec | ServerSpec): Partial<TransportConfig> {
  const { windowBytes } = spec
  return {
    idleTimeoutUs: spec.idleTimeoutMs * 1000,
    // As long as the connection may be silent: with every fourth packet lost, ten seconds are not always enough.
    handshakeTimeoutUs: spec.idleTimeoutMs * 1000,
    versions: spec.versions.map((name) => versionNumbers[name]),
    ...(windowBytes === undefined
      ? {}
      : {
          streamWindowBytes: windowBytes,
          streamWindowMaxBytes: windowBytes,
          connectionWindowBytes: windowBytes,
          connectionWindowMaxBytes: windowBytes,
        }),
    ...('streamsMax' in spec && spec.streamsMax !== undefined ? { maxStreamsBidi: spec.streamsMax } : {}),
  }
}

type Spec = ClientSpec | ServerSpec

function cipherSuitesOf(spec: Spec): { cipherSuites?: string[] } {
  return spec.cipher === undefined ? {} : { cipherSuites: [cipherNames[spec.cipher]] }
}

function diagnosticsOf(spec: Spec): Diagnostics {
  return openDiagnostics({
    keylogFile: spec.keylogFile,
    qlogDirectory: spec.qlogDir,
    onWarning: (text) => process.stderr.write(`${text}\n`),
  })
}

const pemOf = (file: string): { pem: string; label: string } => ({ pem: readFileSync(file, 'utf8'), label: file })

/** Facts of a connection, read while it lives: after its end the engine has wiped its keys. */
class Facts {
  version = 0
  alpn: string | null = null
  resumed = false
  earlyData = false
  handshakeComplete = false
  cipher: string | null = null
  closed: { code: number | null; reason: string } | null = null

  constructor(connection: QuicConnection) {
    connection.connected.then(
      ({ alpn, resumed, earlyData }) => {
        const { core } = connection.engine
        this.version = core.version
        this.alpn = alpn
        this.resumed = resumed
        this.earlyData = earlyData === 'accepted'
        this.handshakeComplete = true
        const key = core.keys.tx(Level.OneRtt)
        if (!connection.isClosed) this.cipher = core.crypto.keyLimits(key).cipherSuite
      },
      () => undefined, // `closed` says why
    )
    void connection.closed.then((reason) => {
      this.closed =
        'code' in reason ? { code: reason.code, reason: reason.reason } : { code: null, reason: reason.kind }
    })
  }
}

/** Calls `act` once after so many bytes. */
class Trigger {
  #left: number
  readonly #act: () => void

  constructor(afterBytes: number | undefined, act: () => void) {
    this.#left = afterBytes ?? Infinity
    this.#act = act
  }

  count(bytes: number): void {
    if (this.#left <= 0) return
    this.#left -= bytes
    if (this.#left <= 0) this.#act()
  }
}

function* counted(chunks: Iterable<Uint8Array>, triggers: readonly Trigger[]): Generator<Uint8Array> {
  for (const chunk of chunks) {
    for (const trigger of triggers) trigger.count(chunk.length)
    yield chunk
  }
}

// ---- server

interface RequestRecord {
  readonly path: string
  readonly early: boolean
  bytes: number
}

async function serve(spec: ServerSpec): Promise<void> {
  const diagnostics = diagnosticsOf(spec)
  const pendingReports = new Set<() => void>()
  const listener = await listen(
    {
      addresses: [spec.host],
      port: spec.port,
      identities: [{ certificate: pemOf(spec.certificate), privateKey: pemOf(spec.privateKey) }],
      alpn: ['h3'],
      earlyData: true,
      accept: { retry: spec.retry ? 'always' : 'never' },
      ...(spec.preferredAddress === undefined ? {} : { preferredAddress: { ipv4: spec.preferredAddress } }),
      config: configOf(spec),
      ...cipherSuitesOf(spec),
      ...diagnosticsFields(diagnostics),
    },
    (connection) => serveConnection(spec, connection, pendingReports),
  )
  process.once('SIGTERM', () => void stopServing(listener, diagnostics, pendingReports))
  report('listening', { port: listener.port })
}

function diagnosticsFields({ keyLog, observe }: Diagnostics): Pick<Diagnostics, 'keyLog' | 'observe'> {
  return { ...(keyLog === undefined ? {} : { keyLog }), ...(observe === undefined ? {} : { observe }) }
}

function serveConnection(spec: ServerSpec, connection: QuicConnection, pendingReports: Set<() => void>): void {
  const facts = new Facts(connection)
  const requests: RequestRecord[] = []
  const trigger = new Trigger(spec.keyUpdateAfterBytes, () => connection.engine.updateKeys())
  const reportOnce = (): void => {
    if (pendingReports.delete(reportOnce)) report('connection', { requests, ...facts })
  }
  pendingReports.add(reportOnce)
  serveHttp3(connection, (request, response) => answer(connection, requests, trigger, request, response), {
    onError: (error) => process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`),
  })
  void connection.closed.then(reportOnce)
}

async function stopServing(
  listener: QuicListener,
  diagnostics: Diagnostics,
  pendingReports: ReadonlySet<() => void>,
): Promise<void> {
  await listener.close({ code: H3_NO_ERROR })
  for (const reportOnce of pendingReports) reportOnce()
  await diagnostics.close()
  process.exit(0)
}

async function answer(
  connection: QuicConnection,
  requests: RequestRecord[],
  trigger: Trigger,
  request: ServerRequest,
  response: ServerResponse,
): Promise<void> {
  const path = request.path ?? ''
  const record: RequestRecord = { path, early: !connection.engine.core.handshake.isComplete, bytes: 0 }
  requests.push(record)
  if (path.startsWith('/bytes/')) {
    const size = Number(path.split('/')[2])
    const headers = [
      ['content-length', String(size)],
      ['x-served-by', 'quicether'],
    ] as const
    return response.send(200, headers, counted(bodyChunks(size), [trigger]))
  }
  if (path === '/echo') {
    response.writeHead(200)
    for await (const chunk of request.body) {
      record.bytes += chunk.length
      await response.write(chunk)
    }
    return response.end()
  }
  if (path !== '/upload') return response.send(404, [], null)
  const hash = createHash('sha256')
  for await (const chunk of request.body) {
    record.bytes += chunk.length
    hash.update(chunk)
    trigger.count(chunk.length)
  }
  const text = `{"bytes":${record.bytes},"sha256":"${hash.digest('hex')}"}`
  return response.send(200, [['content-type', 'application/json']], text)
}

// ---- client

async function fetchOnce(
  client: Http3Client,
  spec: ClientSpec,
  request: RequestSpec,
  triggers: readonly Trigger[],
): Promise<ResponseFacts> {
  const { method, path, base64, size = 0 } = request
  const literal = base64 === undefined ? undefined : Buffer.from(base64, 'base64')
  const body = literal ?? (size > 0 ? counted(bodyChunks(size), triggers) : null)
  const headers: (readonly [string, string])[] = [['user-agent', 'quicether-interop'], ...(request.headers ?? [])]
  const response = await client.request({ method, authority: spec.serverName, path, headers, body })
  const hash = createHash('sha256')
  const head: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.length
    hash.update(chunk)
    if (bytes <= TEXT_BYTES_MAX) head.push(chunk)
    for (const trigger of triggers) trigger.count(chunk.length)
  }
  const text = bytes <= TEXT_BYTES_MAX ? Buffer.concat(head).toString() : null
  return { path, status: response.status, bytes, sha256: hash.digest('hex'), text }
}

/** A client connection and, where it was asked for, the means to move it to a new local port. */
interface Opened {
  readonly connection: QuicConnection
  readonly move: () => void
}

function open(
  spec: ClientSpec,
  plan: ConnectionSpec,
  context: ClientContext,
  diagnostics: Diagnostics,
): Promise<Opened> | Opened {
  const version = versionNumbers[spec.firstVersion ?? spec.versions[0] ?? '1']
  const earlyData = plan.earlyData ?? false
  if (plan.migrateAfterBytes !== undefined) return openMovable(spec, version, context, diagnostics)
  const options = {
    host: spec.host,
    port: spec.port,
    serverName: spec.serverName,
    alpn: ['h3'],
    context,
    localAddress: spec.bindHost,
    version,
    earlyData,
    config: configOf(spec),
    ...diagnosticsFields(diagnostics),
  }
  return connect(options).then((connection) => ({ connection, move: () => undefined }))
}

/** From the parts of `connect`, since the client must bind a second socket to move to. */
function openMovable(spec: ClientSpec, version: number, context: ClientContext, diagnostics: Diagnostics): Opened {
  const port = new UdpPort()
  const local = { address: spec.bindHost, port: 0 }
  let connection: QuicConnection | undefined
  const driver: Driver = new Driver({
    port,
    onEvent: (event, now) => {
      if (event.kind === 'connection') connection?.handleEvent(event.event, now)
    },
  })
  const endpoint = new Endpoint({
    crypto: createNativeCrypto(),
    random: systemRandom(),
    config: configOf(spec),
    onReady: driver.wake,
    ...(diagnostics.observe === undefined ? {} : { observe: diagnostics.observe }),
  })
  const first = port.bind(local)
  driver.start(endpoint, [first.handle])
  const { keyLog } = diagnostics
  if (keyLog !== undefined) context.addKeyLog(keyLog)
  const tuple = port.tupleTo(first.handle, spec.host, spec.port)
  const engine = endpoint.connect(
    { tls: context.tls, tuple, serverName: spec.serverName, alpn: ['h3'], version },
    nowUs(),
  )
  connection = new QuicConnection(engine, () => void setTimeout(() => driver.close(), LINGER_MS))
  const move = (): void => {
    const second = port.bind(local)
    driver.watch(second.handle)
    if (!engine.migrate(port.tupleTo(second.handle, spec.host, spec.port), nowUs())) {
      process.stderr.write('the engine refused to migrate\n')
    }
  }
  return { connection, move }
}

async function connectOnce(
  spec: ClientSpec,
  plan: ConnectionSpec,
  context: ClientContext,
  diagnostics: Diagnostics,
): Promise<Record<string, unknown>> {
  const began = performance.now()
  const { connection, move } = await open(spec, plan, context, diagnostics)
  const facts = new Facts(connection)
  const client = new Http3Client(connection)
  const ended = connection.closed.then((reason) =>
    Promise.reject(new Error(`connection closed: ${JSON.stringify(reason)}`)),
  )
  ended.catch(() => undefined)
  if (plan.earlyData !== true) await connection.connected
  const handshakeMs = performance.now() - began
  // RFC 9000 §9: a client must not migrate before the handshake is confirmed.
  const confirmed = (): Promise<void> => until(() => connection.engine.core.handshakeConfirmed || connection.isClosed)
  const triggers = [
    new Trigger(plan.keyUpdateAfterBytes, () => connection.engine.updateKeys()),
    new Trigger(plan.migrateAfterBytes, () => void confirmed().then(move)),
  ]
  const all = Promise.all(plan.requests.map((request) => fetchOnce(client, spec, request, triggers)))
  const responses = await Promise.race([all, ended])
  await Promise.race([confirmed(), ended])
  // Session tickets come with or after the confirmation: one more small request gives them a round trip.
  await Promise.race([fetchOnce(client, spec, { method: 'GET', path: '/bytes/1' }, []), ended])
  const { migrations } = connection.stats()
  const seen = { ...facts, closed: null }
  await connection.close(H3_NO_ERROR, '')
  return { responses, migrations, handshakeMs, ...seen }
}

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 1))
}

async function runClient(spec: ClientSpec): Promise<void> {
  const diagnostics = diagnosticsOf(spec)
  const context = new ClientContext({ trust: { kind: 'ca', ca: [pemOf(spec.ca)] }, ...cipherSuitesOf(spec) })
  const connections: Record<string, unknown>[] = []
  let result: Record<string, unknown> = { ok: true, connections }
  const timedOut = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new Error(`not done within ${spec.timeoutMs} ms`)), spec.timeoutMs).unref(),
  )
  try {
    for (const plan of spec.connections) {
      connections.push(await Promise.race([connectOnce(spec, plan, context, diagnostics), timedOut]))
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
    result = { ok: false, error: error instanceof Error ? error.message : String(error), connections }
  }
  report('result', result)
  await diagnostics.close()
  await new Promise((resolve) => setTimeout(resolve, LINGER_MS)) // the last CONNECTION_CLOSE leaves its socket
  process.exit(0)
}

const spec = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Spec
if (spec.role === 'server') await serve(spec)
else await runClient(spec)
