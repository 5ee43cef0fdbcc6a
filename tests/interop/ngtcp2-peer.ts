/** ngtcp2's example programs as a peer of the interop runner: options from the JSON file, facts out of their logs. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { appendFileSync, existsSync, openSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { bodyPart } from './body.ts'
import { type Ngtcp2Connection, readNgtcp2Log } from './ngtcp2-log.ts'
import type { CipherName, ClientSpec, ConnectionSpec, ResponseFacts, ServerSpec, VersionName } from './spec.ts'

const versionNames: Readonly<Record<VersionName, string>> = { 1: 'v1', 2: 'v2draft', reserved: '0x1a2a3a4a' }
const gnutlsCiphers: Readonly<Record<CipherName, string>> = {
  aes128: '+AES-128-GCM',
  aes256: '+AES-256-GCM',
  chacha20: '+CHACHA20-POLY1305',
}
const TEXT_BYTES_MAX = 4096
/** Both act on a clock, not on bytes; every case that asks for one takes longer than this. */
const ACT_AFTER = '20ms'
const SERVER_START_TRIES = 200
const SERVER_START_STEP_MS = 25

function report(event: string, facts: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}

function commonOptions(spec: ClientSpec | ServerSpec): string[] {
  const options = ['--no-quic-dump', '--no-http-dump', `--timeout=${spec.idleTimeoutMs}ms`, '--handshake-timeout=30s']
  if (spec.cipher !== undefined) {
    const priority = `NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:${gnutlsCiphers[spec.cipher]}`
    options.push(`--ciphers=${priority}`)
  }
  if (spec.windowBytes !== undefined) {
    const size = String(spec.windowBytes)
    options.push(`--max-data=${size}`, `--max-window=${size}`, `--max-stream-window=${size}`)
    options.push(`--max-stream-data-bidi-local=${size}`, `--max-stream-data-bidi-remote=${size}`)
  }
  return options
}

/** Starts a program with everything it says in `logFile`. */
function start(command: string, options: readonly string[], logFile: string, keylogFile: string): ChildProcess {
  appendFileSync(logFile, `$ ${command} ${options.join(' ')}\n`)
  const log = openSync(logFile, 'a')
  return spawn(command, options, {
    stdio: ['ignore', log, log],
    env: { ...process.env, SSLKEYLOGFILE: keylogFile },
  })
}

function ended(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(signal ?? code ?? 0))
  })
}

// ---- client

async function connectOnce(spec: ClientSpec, plan: ConnectionSpec, index: number): Promise<Record<string, unknown>> {
  const folder = join(dirname(spec.qlogDir), `ngtcp2-${index + 1}`)
  await mkdir(folder, { recursive: true })
  const logFile = join(folder, 'client.log')
  const uploads = plan.requests.filter((request) => request.method === 'POST')
  if (uploads.length > 0 && uploads.length < plan.requests.length) {
    throw new Error('gtlsclient sends either GET or POST in one connection; the runner has to leave one kind out')
  }
  const options = [...commonOptions(spec), ...clientOptions(spec, plan, folder)]
  const [upload] = uploads
  if (upload !== undefined) {
    const bodyFile = join(folder, 'body')
    await writeFile(bodyFile, bodyPart(0, upload.size ?? 0))
    options.push('-m', 'POST', `--data=${bodyFile}`)
  }
  // A name of its own for each file; servers look at the second part of the path only.
  const uris = plan.requests.map((request, at) =>
    request.method === 'POST'
      ? `https://${spec.serverName}${request.path}`
      : `https://${spec.serverName}${request.path}/${at}`,
  )
  const child = start('gtlsclient', [...options, spec.host, String(spec.port), ...uris], logFile, spec.keylogFile)
  const timer = setTimeout(() => child.kill('SIGKILL'), spec.timeoutMs)
  const code = await ended(child)
  clearTimeout(timer)
  // After a Version Negotiation packet the program starts over.
  const seen = readNgtcp2Log(readFileSync(logFile, 'utf8'), 'client').at(-1)
  if (code !== 0 || seen === undefined) throw new Error(`gtlsclient ended with ${code}; see ${logFile}`)
  const responses = plan.requests.map((request, at) => responseOf(seen, request.path, at, folder))
  return { responses, ...clientFacts(seen, plan) }
}

function clientOptions(spec: ClientSpec, plan: ConnectionSpec, folder: string): string[] {
  const shared = dirname(spec.qlogDir)
  const first = spec.firstVersion ?? spec.versions[0] ?? '1'
  const options = [
    `--sni=${spec.serverName}`,
    `--download=${folder}`,
    `--qlog-dir=${spec.qlogDir}`,
    `--version=${versionNames[first]}`,
    `--preferred-versions=${spec.versions.filter((name) => name !== 'reserved').map((name) => versionNames[name])}`,
    '--exit-on-all-streams-close',
    `--token-file=${join(shared, 'ngtcp2.token')}`,
  ]
  // Without the file of the session there is no resumption, without that of the parameters no 0-RTT.
  const sessionFile = join(shared, 'ngtcp2.session')
  const isFirst = !existsSync(sessionFile)
  if (plan.resume === true && isFirst) throw new Error('no session ticket came on the connection before')
  if (plan.resume === true || isFirst) {
    options.push(`--session-file=${sessionFile}`, `--tp-file=${join(shared, 'ngtcp2.parameters')}`)
  }
  if (plan.earlyData !== true) options.push('--disable-early-data')
  if (plan.keyUpdateAfterBytes !== undefined) options.push(`--key-update=${ACT_AFTER}`)
  if (plan.migrateAfterBytes !== undefined) options.push(`--change-local-addr=${ACT_AFTER}`)
  return options
}

function responseOf(seen: Ngtcp2Connection, path: string, at: number, folder: string): ResponseFacts {
  // Client-initiated bidirectional streams are numbered 0, 4, 8 … in the order of the requests.
  const status = seen.statuses.get(4 * at) ?? null
  const file = join(folder, path.startsWith('/bytes/') ? String(at) : (path.split('/').at(-1) ?? ''))
  const body = existsSync(file) ? readFileSync(file) : Buffer.alloc(0)
  const sha256 = createHash('sha256').update(body).digest('hex')
  return { path, status, bytes: body.length, sha256, text: body.length <= TEXT_BYTES_MAX ? body.toString() : null }
}

function clientFacts(seen: Ngtcp2Connection, plan: ConnectionSpec): Record<string, unknown> {
  return {
    version: seen.version,
    alpn: seen.alpn,
    // The program does not tell; the server's word has to do.
    resumed: null,
    earlyData: plan.earlyData === true && seen.zeroRttPackets > 0 && !seen.isEarlyDataRejected,
    handshakeComplete: seen.handshakeComplete,
    cipher: seen.cipher,
    closed: null,
    migrations: seen.migrations,
    handshakeMs: seen.handshakeMs,
    usedPreferredAddress: seen.usedPreferredAddress,
  }
}

async function runClient(spec: ClientSpec): Promise<void> {
  const connections: Record<string, unknown>[] = []
  let result: Record<string, unknown> = { ok: true, connections }
  try {
    for (const [index, plan] of spec.connections.entries()) connections.push(await connectOnce(spec, plan, index))
  } catch (error) {
    result = { ok: false, error: error instanceof Error ? error.message : String(error), connections }
  }
  report('result', result)
}

// ---- server

async function serve(spec: ServerSpec): Promise<void> {
  const folder = dirname(spec.qlogDir)
  const htdocs = join(folder, 'htdocs')
  await mkdir(join(htdocs, 'bytes'), { recursive: true })
  for (const bytes of [1, ...(spec.downloads ?? [])]) {
    await writeFile(join(htdocs, 'bytes', String(bytes)), bodyPart(0, bytes))
  }
  const logFile = join(folder, 'ngtcp2-server.log')
  const options = [...commonOptions(spec), `--htdocs=${htdocs}`, `--qlog-dir=${spec.qlogDir}`]
  if (spec.retry) options.push('--validate-addr')
  if (spec.streamsMax !== undefined) options.push(`--max-streams-bidi=${spec.streamsMax}`)
  options.push(`--preferred-versions=${spec.versions.map((name) => versionNames[name])}`)
  const port = spec.port === 0 ? await freePort(spec.host) : spec.port
  if (spec.preferredAddress !== undefined) {
    options.push(`--preferred-ipv4-addr=${spec.preferredAddress.address}:${port}`)
  }
  options.push(spec.host, String(port), spec.privateKey, spec.certificate)
  const child = start('gtlsserver', options, logFile, spec.keylogFile)
  const over = ended(child)
  process.once('SIGTERM', () => child.kill('SIGKILL'))
  await isBound(spec.host, port, child, logFile)
  report('listening', { port })
  await over
  for (const seen of readNgtcp2Log(readFileSync(logFile, 'utf8'), 'server')) {
    if (seen.handshakeComplete) report('connection', serverFacts(seen))
  }
}

function serverFacts(seen: Ngtcp2Connection): Record<string, unknown> {
  return {
    requests: seen.requests,
    version: seen.version,
    alpn: seen.alpn,
    resumed: null,
    earlyData: seen.requests.some((request) => request.early),
    handshakeComplete: seen.handshakeComplete,
    cipher: seen.cipher,
    closed: seen.closed,
  }
}

/** The program cannot be told to take any port: one that is free now, and its own message if it is not any more. */
async function freePort(host: string): Promise<number> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  await new Promise<void>((resolve) => socket.bind(0, host, resolve))
  const { port } = socket.address()
  await new Promise<void>((resolve) => socket.close(() => resolve()))
  return port
}

/** Waits until the kernel lists the port as bound, since the program does not say when it listens. */
async function isBound(host: string, port: number, child: ChildProcess, logFile: string): Promise<void> {
  const table = host.includes(':') ? '/proc/net/udp6' : '/proc/net/udp'
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  for (let tries = 0; tries < SERVER_START_TRIES; tries += 1) {
    if (child.exitCode !== null) throw new Error(`gtlsserver ended with ${child.exitCode}; see ${logFile}`)
    if (readFileSync(table, 'utf8').includes(wanted)) return
    await new Promise((resolve) => setTimeout(resolve, SERVER_START_STEP_MS))
  }
  throw new Error(`gtlsserver did not bind ${host} port ${port}; see ${logFile}`)
}

const spec = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as ClientSpec | ServerSpec
if (spec.role === 'server') await serve(spec)
else await runClient(spec)
