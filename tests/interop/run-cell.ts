/** Runs one cell of the matrix, client against server through the proxy, and judges it by what all three saw. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { type Case, connectionsFor, type Evidence, expectedAnswer, reasonNotToAsk } from './case.ts'
import { EcnRelay } from './ecn-relay.ts'
import { LossyProxy } from './lossy-proxy.ts'
import { PeerProcess } from './peer-process.ts'
import { type Peer, repositoryRoot, routerCommand } from './peers.ts'
import { readQlog } from './qlog-facts.ts'
import type { ClientResult, ClientSpec, ConnectionSpec, ServerConnectionFacts, ServerSpec } from './spec.ts'

export interface Cell {
  readonly test: Case
  readonly client: Peer
  readonly server: Peer
  /** From 1; later rounds keep logs of their own. */
  readonly round: number
}

export interface Outcome {
  readonly cell: Cell
  /** `fault`: it failed in the way in which one of the two is known to. */
  readonly verdict: 'passed' | 'failed' | 'fault' | 'unsupported'
  /** What is wrong, or why the pair cannot be asked. */
  readonly reasons: readonly string[]
  readonly logDir: string
  readonly tookMs: number
  /** Passed when it was run again: what was wrong the first time. */
  readonly firstReasons?: readonly string[]
}

export interface CellContext {
  readonly logRoot: string
  readonly certificates: string
}

/** Lost packets may cost several probe timeouts; a peer that is stuck must not hold up the run. */
const CLIENT_TIMEOUT_MS = 90_000
const STARTUP_MS = 60_000
const STOP_GRACE_MS = 4_000
const OURS = 'quicether'
/** Its logs are beside those of the first. */
const SECOND_ATTEMPT = 1_000

/** Runs a cell, and once more when it fails: other programs may take the machine away from the peers for seconds. */
export async function runCell(cell: Cell, context: CellContext): Promise<Outcome> {
  const outcome = await attempt(cell, context)
  const isToRepeat = outcome.verdict === 'failed' || (outcome.verdict === 'fault' && isAmongStrangers(cell))
  if (!isToRepeat) return outcome
  const again = await attempt({ ...cell, round: cell.round + SECOND_ATTEMPT }, context)
  return again.verdict === 'passed' ? { ...again, cell, firstReasons: outcome.reasons } : outcome
}

async function attempt(cell: Cell, context: CellContext): Promise<Outcome> {
  const began = performance.now()
  const pair = `${cell.client.name}-to-${cell.server.name}${cell.round > 1 ? `-${cell.round}` : ''}`
  const logDir = join(context.logRoot, cell.test.name, pair)
  const finish = (verdict: Outcome['verdict'], reasons: readonly string[]): Outcome => ({
    cell,
    verdict,
    reasons,
    logDir: relative(repositoryRoot, logDir),
    tookMs: performance.now() - began,
  })
  const reason = reasonNotToAsk(cell.test, cell.client, cell.server)
  if (reason !== undefined) return finish('unsupported', [reason])
  await rm(logDir, { recursive: true, force: true })
  await mkdir(logDir, { recursive: true })
  try {
    const connections = connectionsFor(cell.test, cell.client, cell.server)
    const evidence = await collect(cell, connections, context, logDir)
    const reasons = judge(cell, connections, evidence)
    return reasons.length === 0 ? finish('passed', []) : finish(...blamed(cell, reasons))
  } catch (error) {
    return finish(...blamed(cell, [error instanceof Error ? error.message : String(error)]))
  }
}

function blamed(cell: Cell, reasons: readonly string[]): [Outcome['verdict'], readonly string[]] {
  const { name } = cell.test
  const fault = cell.client.faults?.client?.[name] ?? cell.server.faults?.server?.[name]
  if (fault !== undefined) return ['fault', [fault]]
  // Shown, since it says what these cells are worth, and no fault of this project.
  return isAmongStrangers(cell) ? ['fault', reasons] : ['failed', reasons]
}

function isAmongStrangers({ client, server }: Cell): boolean {
  return client.name !== OURS && server.name !== OURS
}

async function collect(
  cell: Cell,
  connections: readonly ConnectionSpec[],
  context: CellContext,
  logDir: string,
): Promise<Evidence> {
  const host = cell.test.host ?? '127.0.0.1'
  const common = (side: string) => ({
    host,
    versions: ['1'] as const,
    idleTimeoutMs: 30_000,
    qlogDir: join(logDir, `qlog-${side}`),
    keylogFile: join(logDir, `${side}.keys`),
  })
  const file = cell.test.certificate ?? 'plain'
  const serverSpec: ServerSpec = {
    ...common('server'),
    role: 'server',
    port: 0,
    certificate: join(context.certificates, `${file}.pem`),
    privateKey: join(context.certificates, `${file}.key`),
    retry: false,
    downloads: sizesOf(connections),
    ...cell.test.server,
  }
  await mkdir(serverSpec.qlogDir, { recursive: true })
  await mkdir(join(logDir, 'qlog-client'), { recursive: true })
  const serverFile = await writeSpec(logDir, serverSpec)
  const command =
    cell.test.serverKind === 'router' ? routerCommand(serverFile) : cell.server.command('server', serverFile)
  const server = new PeerProcess(`${cell.server.name} server`, command, {}, join(logDir, 'server.log'))
  let proxy: LossyProxy | EcnRelay | undefined
  let client: PeerProcess | undefined
  try {
    const listening = await server.report('listening', STARTUP_MS)
    proxy = await openProxy(host, Number(listening.port), cell.test)
    const clientSpec: ClientSpec = {
      ...common('client'),
      role: 'client',
      port: proxy.port,
      bindHost: host,
      serverName: 'localhost',
      ca: join(context.certificates, 'root.pem'),
      timeoutMs: CLIENT_TIMEOUT_MS,
      connections,
      ...cell.test.client,
    }
    client = new PeerProcess(
      `${cell.client.name} client`,
      cell.client.command('client', await writeSpec(logDir, clientSpec)),
      {},
      join(logDir, 'client.log'),
    )
    const result = await client.report('result', CLIENT_TIMEOUT_MS + STARTUP_MS)
    await client.stop(STOP_GRACE_MS)
    await server.stop(STOP_GRACE_MS)
    return {
      client: result as unknown as ClientResult,
      server: server.reports.filter((r) => r.event === 'connection') as unknown as ServerConnectionFacts[],
      wire: proxy.facts,
      services: (server.reports.find((r) => r.event === 'services')?.counts ?? {}) as Evidence['services'],
      clientQlog: await readQlog(clientSpec.qlogDir),
      serverQlog: await readQlog(serverSpec.qlogDir),
      clientPeer: cell.client,
      serverPeer: cell.server,
    }
  } finally {
    await client?.stop(0)
    await server.stop(STOP_GRACE_MS)
    proxy?.close()
    if (proxy !== undefined) await writeFile(join(logDir, 'wire.json'), `${JSON.stringify(proxy.facts, null, 2)}\n`)
  }
}

async function openProxy(host: string, serverPort: number, test: Case): Promise<LossyProxy | EcnRelay> {
  const network = test.network ?? {}
  return network.congestEvery === undefined
    ? await LossyProxy.open(host, serverPort, network)
    : new EcnRelay(host, serverPort, network)
}

function sizesOf(connections: readonly ConnectionSpec[]): number[] {
  const paths = connections.flatMap((plan) => plan.requests.map((request) => request.path))
  return [...new Set(paths.filter((path) => path.startsWith('/bytes/')).map((path) => Number(path.split('/')[2])))]
}

async function writeSpec(logDir: string, spec: ClientSpec | ServerSpec): Promise<string> {
  const file = join(logDir, `${spec.role}.spec.json`)
  await writeFile(file, `${JSON.stringify(spec, null, 2)}\n`)
  return file
}

function judge(cell: Cell, connections: readonly ConnectionSpec[], evidence: Evidence): string[] {
  const reasons: (string | false)[] = []
  const { client, wire } = evidence
  if (!client.ok) reasons.push(`client: ${client.error ?? 'failed without a reason'}`)
  for (const [index, plan] of connections.entries()) {
    const facts = client.connections[index]
    if (facts === undefined) continue // the client's own error above says why
    for (const [at, request] of plan.requests.entries()) {
      const response = facts.responses[at]
      const where = `connection ${index + 1}, ${request.method} ${request.path}`
      if (response?.status !== 200) reasons.push(`${where}: status ${response?.status ?? 'none'}`)
      const expected = expectedAnswer(request)
      if (expected !== undefined && response?.sha256 !== expected.sha256) {
        reasons.push(`${where}: ${response?.bytes} bytes with a wrong checksum, ${expected.bytes} were due`)
      }
      if (request.path === '/upload') reasons.push(judgeUpload(where, request.size ?? 0, response?.text))
    }
  }
  if (client.ok) reasons.push(...cell.test.judge(evidence), ...judgeWire(evidence))
  const found = reasons.filter((reason): reason is string => reason !== false)
  if (wire.toServer.datagrams === 0) found.push('the client sent nothing')
  return found
}

function judgeUpload(where: string, bytes: number, text: string | null | undefined): string | false {
  const expected = expectedAnswer({ method: 'GET', path: `/bytes/${bytes}` })
  const wanted = `{"bytes":${bytes},"sha256":"${expected?.sha256}"}`
  return text !== wanted && `${where}: the server received something else: ${text ?? 'no answer'}`
}

/** Rules that hold whatever the case is about, seen from the wire. */
function judgeWire({ wire, serverPeer, clientPeer }: Evidence): (string | false)[] {
  return [
    // RFC 9000 §14.1: "A client MUST expand the payload of all UDP datagrams carrying Initial packets to at least […] 1200 bytes"
    wire.clientInitialBytesMin < 1200 &&
      `${clientPeer.name} sent an Initial in a datagram of ${wire.clientInitialBytesMin} bytes`,
    // RFC 9000 §8.1
    wire.amplificationExcessBytes > (serverPeer.amplificationSlack?.bytes ?? 0) &&
      `${serverPeer.name} sent ${wire.amplificationExcessBytes} bytes more than three times what it had received before the address was validated`,
  ]
}
