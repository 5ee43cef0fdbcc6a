/** QuicEther as a peer of the interop runner: an HTTP/3 client or server told what to do by one JSON argument. */
import { createHash } from 'node:crypto'
import { appendFileSync, readFileSync } from 'node:fs'
import { Http3Client, type ServerRequest, type ServerResponse, serveHttp3 } from '@quicether/http3'
import type { Http3Connection } from '../../packages/http3/src/connection.ts'
import { createClientContext, createNativeCrypto, createServerContext, systemRandom } from '@quicether/native'
import { QlogDirectory } from '../../packages/net/src/qlog/index.ts'
import { type CloseReason, type Connection, type ConnectionEvent, Endpoint, type TransportConfig } from '@quicether/transport'
import { bodyChunks } from './body.ts'
import { DgramDriver } from './ours-driver.ts'
import type { CipherName, ClientSpec, ConnectionSpec, RequestSpec, ResponseFacts, ServerSpec, VersionName } from './spec.ts'

const H3_NO_ERROR = 0x100
const TEXT_BYTES_MAX = 4096

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

/** Facts of one connection, kept while it lives: after its end the engine has forgotten them. */
class Link implements Http3Connection {
  readonly transport: Connection
  onEvent: ((event: ConnectionEvent) => void) | null = null
  readonly closed: Promise<CloseReason>
  readonly connected: Promise<void>
  readonly confirmed: Promise<void>
  readonly facts = {
    version: 0,
    alpn: '' as string | null,
    resumed: false,
    earlyData: false,
    handshakeComplete: false,
    cipher: null as string | null,
    closed: null as { code: number | null; reason: string } | null,
  }
  readonly #driver: DgramDriver
  readonly #closed = Promise.withResolvers<CloseReason>()
  readonly #connected = Promise.withResolvers<void>()
  readonly #confirmed = Promise.withResolvers<void>()

  constructor(connection: Connection, driver: DgramDriver) {
    this.transport = connection
    this.#driver = driver
    this.closed = this.#closed.promise
    this.connected = this.#connected.promise
    this.confirmed = this.#confirmed.promise
    this.#connected.promise.catch(() => undefined)
    this.#confirmed.promise.catch(() => undefined)
    driver.handlers.set(connection, (event) => this.#onEngineEvent(event))
  }

  close(code: number, reason: string): Promise<CloseReason> {
    this.transport.close(code, reason)
    return this.closed
  }

  #onEngineEvent(event: ConnectionEvent): void {
    if (event.kind === 'connected') this.#onConnected(event)
    if (event.kind === 'confirmed') this.#confirmed.resolve()
    if (event.kind === 'closed') {
      const { reason } = event
      const error = new Error(`connection closed: ${JSON.stringify(reason)}`)
      this.facts.closed = 'code' in reason ? { code: reason.code, reason: reason.reason } : { code: null, reason: reason.kind }
      this.#connected.reject(error)
      this.#confirmed.reject(error)
      this.#closed.resolve(reason)
    }
    this.onEvent?.(event)
    this.#driver.schedule()
  }

  #onConnected(event: ConnectionEvent & { kind: 'connected' }): void {
    const { core } = this.transport
    Object.assign(this.facts, {
      version: core.version,
      alpn: event.alpn,
      resumed: event.resumed,
      earlyData: event.earlyData === 'accepted',
      handshakeComplete: true,
      cipher: core.crypto.keyLimits(core.keys.tx(3)).cipherSuite,
    })
    this.#connected.resolve()
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

function* counted(chunks: Iterable<Uint8Array>, trigger: Trigger): Generator<Uint8Array> {
  for (const chunk of chunks) {
    trigger.count(chunk.length)
    yield chunk
  }
}

function qlogOf(spec: ClientSpec | ServerSpec): QlogDirectory {
  const epochOffsetUs = Math.floor(performance.timeOrigin * 1000)
  return new QlogDirectory({ path: spec.qlogDir, epochOffsetUs, onWarning: (text) => process.stderr.write(`${text}\n`) })
}

function secretsOf(spec: ClientSpec | ServerSpec): { cipherSuites?: string[]; keyLog: (line: string) => void } {
  const cipher = spec.cipher === undefined ? {} : { cipherSuites: [cipherNames[spec.cipher]] }
  return { ...cipher, keyLog: (line) => appendFileSync(spec.keylogFile, `${line}\n`) }
}

async function serve(spec: ServerSpec): Promise<void> {
  const driver = new DgramDriver()
  const socket = await driver.bind(spec.host, spec.port)
  const qlog = qlogOf(spec)
  const pem = (file: string): { pem: string; label: string } => ({ pem: readFileSync(file, 'utf8'), label: file })
  const tls = createServerContext({
    identities: [{ certificate: pem(spec.certificate), privateKey: pem(spec.privateKey) }],
    alpn: ['h3'],
    earlyData: true,
    ...secretsOf(spec),
  })
  driver.endpoint = new Endpoint({
    crypto: createNativeCrypto(),
    random: systemRandom(),
    config: configOf(spec),
    server: { tls, retry: spec.retry ? 'always' : 'never' },
    observe: () => qlog.observe() ?? null,
    onReady: () => driver.schedule(),
  })
  const links = new Set<{ readonly link: Link; readonly reportOnce: () => void }>()
  driver.onIncoming = (connection) => {
    const link = new Link(connection, driver)
    const requests: { path: string; early: boolean; bytes: number }[] = []
    const trigger = new Trigger(spec.keyUpdateAfterBytes, () => connection.updateKeys())
    let isReported = false
    const entry = {
      link,
      reportOnce: () => {
        if (!isReported) report('connection', { requests, ...link.facts })
        isReported = true
      },
    }
    links.add(entry)
    serveHttp3(link, (request, response) => answer(link, requests, trigger, request, response), {
      onError: (error) => process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`),
    })
    void link.closed.then(() => entry.reportOnce())
  }
  report('listening', { port: driver.port(socket) })
  process.once('SIGTERM', () => void stopServing(driver, qlog, links))
}

async function stopServing(
  driver: DgramDriver,
  qlog: QlogDirectory,
  links: ReadonlySet<{ readonly link: Link; readonly reportOnce: () => void }>,
): Promise<void> {
  driver.endpoint.closeAll(H3_NO_ERROR, '')
  await new Promise((resolve) => setTimeout(resolve, 50))
  for (const { reportOnce } of links) reportOnce()
  await qlog.close()
  process.exit(0)
}

async function answer(
  link: Link,
  requests: { path: string; early: boolean; bytes: number }[],
  trigger: Trigger,
  request: ServerRequest,
  response: ServerResponse,
): Promise<void> {
  const path = request.path ?? ''
  const record = { path, early: !link.facts.handshakeComplete, bytes: 0 }
  requests.push(record)
  if (path.startsWith('/bytes/')) {
    const size = Number(path.split('/')[2])
    const headers = [
      ['content-length', String(size)],
      ['x-served-by', 'quicether'],
    ] as const
    return response.send(200, headers, counted(bodyChunks(size), trigger))
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

async function fetchOnce(client: Http3Client, spec: ClientSpec, request: RequestSpec, trigger: Trigger): Promise<ResponseFacts> {
  const { method, path, base64, size = 0 } = request
  const body = base64 !== undefined ? Buffer.from(base64, 'base64') : size > 0 ? counted(bodyChunks(size), trigger) : null
  const headers: [string, string][] = [['user-agent', 'quicether-interop'], ...(request.headers ?? []).map(([n, v]): [string, string] => [n, v])]
  const response = await client.request({ method, authority: spec.serverName, path, headers, body })
  const hash = createHash('sha256')
  const head: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.length
    hash.update(chunk)
    if (bytes <= TEXT_BYTES_MAX) head.push(chunk)
    trigger.count(chunk.length)
  }
  const text = bytes <= TEXT_BYTES_MAX ? Buffer.concat(head).toString() : null
  return { path, status: response.status, bytes, sha256: hash.digest('hex'), text }
}

interface ClientParts {
  readonly spec: ClientSpec
  readonly tls: ReturnType<typeof createClientContext>
  readonly driver: DgramDriver
  token: Uint8Array | undefined
}

async function connectOnce(parts: ClientParts, plan: ConnectionSpec): Promise<Record<string, unknown>> {
  const { spec, tls, driver } = parts
  const socket = await driver.bind(spec.bindHost, 0)
  const began = performance.now()
  const connection = driver.endpoint.connect(
    {
      tls,
      tuple: driver.tuple(socket, spec.host, spec.port),
      serverName: spec.serverName,
      alpn: ['h3'],
      earlyData: plan.earlyData ?? false,
      version: versionNumbers[spec.firstVersion ?? spec.versions[0] ?? '1'],
      ...(parts.token === undefined ? {} : { token: parts.token }),
      onNewToken: (token) => {
        parts.token = token
      },
    },
    driver.nowUs(),
  )
  const link = new Link(connection, driver)
  const client = new Http3Client(link)
  driver.schedule()
  if (plan.earlyData !== true) await link.connected
  const handshakeMs = performance.now() - began
  const keyTrigger = new Trigger(plan.keyUpdateAfterBytes, () => connection.updateKeys())
  const moveTrigger = new Trigger(plan.migrateAfterBytes, () => void migrate(parts, connection))
  const both = new Trigger(undefined, () => undefined)
  both.count = (bytes) => {
    keyTrigger.count(bytes)
    moveTrigger.count(bytes)
  }
  const failed = link.closed.then((reason) => Promise.reject(new Error(`connection closed: ${JSON.stringify(reason)}`)))
  failed.catch(() => undefined)
  const all = Promise.all(plan.requests.map((request) => fetchOnce(client, spec, request, both)))
  const responses = await Promise.race([all, failed])
  await Promise.race([link.confirmed, failed])
  // Session tickets come with or after the confirmation: one more small request gives them a round trip.
  await Promise.race([fetchOnce(client, spec, { method: 'GET', path: '/bytes/1' }, both), failed])
  const { migrations } = connection.stats()
  const facts = { ...link.facts, closed: null }
  await link.close(H3_NO_ERROR, '')
  return { responses, migrations, handshakeMs, ...facts }
}

async function migrate({ driver, spec }: ClientParts, connection: Connection): Promise<void> {
  const socket = await driver.bind(spec.bindHost, 0)
  connection.migrate(driver.tuple(socket, spec.host, spec.port), driver.nowUs())
  driver.schedule()
}

async function runClient(spec: ClientSpec): Promise<void> {
  const driver = new DgramDriver()
  const qlog = qlogOf(spec)
  const tls = createClientContext({
    trust: { kind: 'ca', ca: [{ pem: readFileSync(spec.ca, 'utf8'), label: spec.ca }] },
    ...secretsOf(spec),
  })
  driver.endpoint = new Endpoint({
    crypto: createNativeCrypto(),
    random: systemRandom(),
    config: configOf(spec),
    observe: () => qlog.observe() ?? null,
    onReady: () => driver.schedule(),
  })
  const parts: ClientParts = { spec, tls, driver, token: undefined }
  const connections: Record<string, unknown>[] = []
  const timer = setTimeout(() => {
    report('result', { ok: false, error: `not done within ${spec.timeoutMs} ms`, connections })
    void qlog.close().then(() => process.exit(1))
  }, spec.timeoutMs)
  try {
    for (const plan of spec.connections) connections.push(await connectOnce(parts, plan))
    report('result', { ok: true, connections })
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
    report('result', { ok: false, error: error instanceof Error ? error.message : String(error), connections })
  }
  clearTimeout(timer)
  await qlog.close()
  await new Promise((resolve) => setTimeout(resolve, 20)) // the last CONNECTION_CLOSE leaves the socket
  driver.close()
  process.exit(0)
}

const spec = JSON.parse(process.argv[2] ?? 'null') as ClientSpec | ServerSpec
if (spec.role === 'server') await serve(spec)
else await runClient(spec)
