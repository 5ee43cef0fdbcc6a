/** One client of a soak: connects, asks mixed things at once, checks every byte, closes, and begins again until killed. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Http3Client } from '@quicether/http3'
import { ClientContext, connect } from '@quicether/net'
import { bodyChunks, bodySha256 } from '../interop/body.ts'
import { randomFrom } from './random.ts'

/** What a client tells the runner after each round. */
export interface RoundMessage {
  readonly kind: 'round'
  readonly requests: number
  readonly bytes: number
  readonly resumed: boolean
  readonly earlyData: boolean
  readonly migrated: boolean
  readonly failures: readonly Failure[]
}

export interface Failure {
  /** The service asked, or `connection`. */
  readonly where: string
  readonly what: string
  /** Bytes that came under status 200, to their end, and are not what was asked for. Never explained by a kill. */
  readonly isWrong: boolean
  /** `Date.now()` at the beginning and the end. */
  readonly fromMs: number
  readonly toMs: number
}

const H3_NO_ERROR = 0x100
const PATIENCE_MS = 120_000

const [portText = '0', caFile = '', seedText = '1', pauseText = '20'] = process.argv.slice(2)
const services = ['one', 'two']
const sizes = [0, 1, 300, 4_000, 60_000, 400_000]
const random = randomFrom(Number(seedText))
const context = new ClientContext({
  trust: { kind: 'ca', ca: [{ pem: readFileSync(caFile, 'utf8'), label: caFile }] },
})

const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T

async function exchange(client: Http3Client, service: string, failures: Failure[]): Promise<number> {
  const size = pick(sizes)
  const kind = pick(['bytes', 'upload', 'echo'] as const)
  const fromMs = Date.now()
  const fail = (what: string, isWrong: boolean): void => {
    failures.push({ where: service, what: `${kind} ${size}: ${what}`, isWrong, fromMs, toMs: Date.now() })
  }
  try {
    const response = await client.request({
      method: kind === 'bytes' ? 'GET' : 'POST',
      authority: 'localhost',
      path: kind === 'bytes' ? `/${service}/bytes/${size}` : `/${service}/${kind}`,
      body: kind === 'bytes' ? null : bodyChunks(size),
    })
    const hash = createHash('sha256')
    const text: Uint8Array[] = []
    let bytes = 0
    for await (const chunk of response.body) {
      hash.update(chunk)
      bytes += chunk.length
      if (kind === 'upload' || response.status !== 200) text.push(chunk)
    }
    const said = Buffer.concat(text).toString()
    if (response.status !== 200) fail(`status ${response.status} ${said.slice(0, 100)}`, false)
    else if (kind === 'upload' ? said !== bodySha256(size) : hash.digest('hex') !== bodySha256(size)) {
      fail(`${bytes} bytes came and they are wrong`, true)
    }
    return size + bytes
  } catch (error) {
    fail(messageOf(error), false)
    return 0
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

async function round(): Promise<RoundMessage> {
  const failures: Failure[] = []
  const fromMs = Date.now()
  const facts = { requests: 0, bytes: 0, resumed: false, earlyData: false, migrated: false }
  try {
    const connection = await connect({
      host: '127.0.0.1',
      port: Number(portText),
      serverName: 'localhost',
      alpn: ['h3'],
      context,
      earlyData: random() < 0.5,
      handshakeTimeoutMs: PATIENCE_MS,
      idleTimeoutMs: PATIENCE_MS,
    })
    const client = new Http3Client(connection)
    const service = pick(services)
    const wanted = 1 + Math.floor(random() * 8)
    const work = Array.from({ length: wanted }, () =>
      exchange(client, random() < 0.7 ? service : pick(services), failures),
    )
    const { resumed, earlyData } = await connection.connected
    facts.resumed = resumed
    facts.earlyData = earlyData === 'accepted'
    if (random() < 0.3) {
      await Promise.race(work) // the handshake is confirmed by then
      facts.migrated = connection.migrate()
    }
    for (const bytes of await Promise.all(work)) facts.bytes += bytes
    facts.requests = wanted
    await connection.close(H3_NO_ERROR, '')
  } catch (error) {
    failures.push({ where: 'connection', what: messageOf(error), isWrong: false, fromMs, toMs: Date.now() })
  }
  return { kind: 'round', ...facts, failures }
}

for (;;) {
  process.send?.(await round())
  await sleep(random() * Number(pauseText))
}
