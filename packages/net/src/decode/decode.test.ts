/** Captures of real transfers, decoded, are what the engine says it sent and received: every path, suite and version. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { ConnectionObserver, PacketInfo } from '@quicether/transport'
import { Version } from '@quicether/wire'
import { CaptureDecoder, type DecodedPacket } from '../decode/index.ts'
import {
  ClientContext,
  type ConnectOptions,
  connect,
  FrameJson,
  generateCertificate,
  type ListenOptions,
  listen,
  openDiagnostics,
  type QuicConnection,
} from '../index.ts'

const directory = mkdtempSync(join(tmpdir(), 'quicether-decode-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const certificate = { pem: made.certificatePem, label: 'cert.pem' }
const identity = { certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }
const alpn = ['echo']
const BODY_BYTES = 160_000

/** One packet in the words of the engine's observer. */
interface Seen {
  readonly isSent: boolean
  readonly kind: string
  readonly path: number
  readonly packetNumber: number
  readonly length: number
  readonly frames: string
}

const kinds = ['initial', '0RTT', 'handshake', '1RTT'] as const

class Recorder implements ConnectionObserver {
  readonly seen: Seen[] = []
  readonly #frames = new FrameJson()

  packetSent(packet: PacketInfo, bytes: Uint8Array, start: number, end: number): void {
    this.#note(true, packet, bytes, start, end)
  }
  packetReceived(packet: PacketInfo, bytes: Uint8Array, start: number, end: number): void {
    this.#note(false, packet, bytes, start, end)
  }
  #note(isSent: boolean, packet: PacketInfo, bytes: Uint8Array, start: number, end: number): void {
    const { level, pathId: path, packetNumber, length } = packet
    const frames = this.#frames.encode(bytes, start, end, level, 3)
    this.seen.push({ isSent, kind: kinds[level] as string, path, packetNumber, length, frames })
  }
  connectionStarted(): void {}
  packetDropped(): void {}
  packetLost(): void {}
  metricsUpdated(): void {}
  event(): void {}
}

/** What a recorded connection speaks. */
interface Variant {
  readonly suite?: string
  readonly version?: number
  readonly versions?: readonly number[]
  readonly listen?: Partial<ListenOptions>
}

interface Recording {
  readonly capture: Buffer
  readonly keylog: string
  readonly seen: readonly Seen[]
}

type Dial = (options?: Partial<ConnectOptions>) => Promise<QuicConnection>

/** Records at the client what `play` does with connections to an echoing server. */
async function record(name: string, variant: Variant = {}, play = twoPathsAndKeys): Promise<Recording> {
  const { suite, version, versions: known } = variant
  const versions = known === undefined ? {} : { versions: known }
  const cipherSuites = suite === undefined ? {} : { cipherSuites: [suite] }
  const captureFile = join(directory, `${name}.pcapng`)
  const keylogFile = join(directory, `${name}.keys`)
  const { keyLog, tap, close } = openDiagnostics({ captureFile, keylogFile })
  const recorder = new Recorder()
  const config = { maxPaths: 3, packetScheduler: 'rr' as const, ...versions }
  const server = await listen(
    { addresses: ['127.0.0.1'], port: 0, alpn, identities: [identity], config, ...cipherSuites, ...variant.listen },
    answer,
  )
  await play((options) =>
    connect({
      host: '127.0.0.1',
      port: server.port,
      alpn,
      ...(options?.context === undefined ? { ca: [certificate] } : {}),
      ...(version === undefined ? {} : { version }),
      config,
      ...(keyLog === undefined ? {} : { keyLog }),
      ...(tap === undefined ? {} : { tap }),
      observe: () => recorder,
      ...options,
    }),
  )
  await server.close()
  await close()
  return { capture: readFileSync(captureFile), keylog: readFileSync(keylogFile, 'utf8'), seen: recorder.seen }
}

function answer(connection: QuicConnection): void {
  connection.onEvent = (event) => {
    if (event.kind !== 'readable') return
    const { transport } = connection
    let bytes = 0
    if (transport.read(event.id, (chunk) => void (bytes += chunk.length)) === 'finished') {
      transport.write(event.id, new Uint8Array(BODY_BYTES / 4).fill(bytes & 0xff))
      transport.finish(event.id)
    }
  }
}

/** Sends a body and waits for the whole answer. */
async function exchange(client: QuicConnection, fill: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { transport } = client
  const id = transport.openStream('bidirectional') ?? assert.fail('no stream')
  const body = new Uint8Array(BODY_BYTES).fill(fill)
  let written = 0
  const pump = (): void => {
    if (written === body.length) return
    written += transport.write(id, body.subarray(written))
    if (written === body.length) transport.finish(id)
  }
  client.onEvent = (event) => {
    if (event.kind === 'writable') pump()
    if (event.kind === 'readable' && transport.read(id, () => {}) === 'finished') resolve()
  }
  pump()
  await promise
}

/** Two paths, both used in both directions, and two key updates of the client. */
async function twoPathsAndKeys(dial: Dial): Promise<void> {
  const client = await dial()
  assert.equal(await client.openPath({ localAddress: '127.0.0.2' }), 1)
  for (let round = 0; round < 3; round++) {
    if (round > 0) client.engine.updateKeys()
    await exchange(client, round)
    await until(() => client.stats().keyUpdates === round)
  }
  await client.close(0, 'done')
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; !isTrue(); tries++) {
    assert.ok(tries < 2_000, 'it happens')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function decode(
  capture: Uint8Array,
  keylog = '',
  chunkBytes = 4_096,
): { packets: DecodedPacket[]; decoder: CaptureDecoder } {
  const packets: DecodedPacket[] = []
  const decoder = new CaptureDecoder({ onPacket: (packet) => packets.push(packet) })
  decoder.addKeys(keylog)
  for (let at = 0; at < capture.length; at += chunkBytes) decoder.push(capture.subarray(at, at + chunkBytes))
  decoder.end()
  return { packets, decoder }
}

const asSeen = (packet: DecodedPacket): Seen => ({
  isSent: packet.sender === 'client',
  kind: packet.kind,
  path: packet.path ?? -1,
  packetNumber: packet.packetNumber ?? -1,
  length: packet.length,
  frames: packet.frames ?? String(packet.problem),
})

const side = (list: readonly Seen[], isSent: boolean): readonly Seen[] => list.filter((seen) => seen.isSent === isSent)
const key = (seen: Seen): string => JSON.stringify(seen)

const cases: readonly [string, Variant][] = [
  ['aes-128-v1', { suite: 'TLS_AES_128_GCM_SHA256' }],
  ['aes-256-v2', { suite: 'TLS_AES_256_GCM_SHA384', version: Version.V2 }],
  ['chacha20-v1', { suite: 'TLS_CHACHA20_POLY1305_SHA256' }],
  ['compatible-upgrade', { versions: [Version.V2, Version.V1], version: Version.V1 }],
]

for (const [name, variant] of cases) {
  test(`every packet and frame of two paths comes out of a capture as the engine saw it: ${name}`, async () => {
    const { capture, seen } = await record(name, variant)
    const { packets, decoder } = decode(capture)
    const decoded = packets.map(asSeen)
    assert.deepEqual(side(decoded, true), side(seen, true))
    // A capture also holds what the engine dropped as duplicates or after its close.
    const shown = new Set(side(decoded, false).map(key))
    assert.deepEqual(
      side(seen, false).filter((packet) => !shown.has(key(packet))),
      [],
    )
    for (const path of [0, 1]) {
      for (const isSent of [true, false]) {
        const count = decoded.filter((one) => one.path === path && one.isSent === isSent && one.kind === '1RTT').length
        assert.ok(count > 10, `${count} packets on path ${path}`)
      }
    }
    assert.equal(Math.max(...packets.map((packet) => packet.generation ?? 0)), 2)
    assert.equal(decoder.totals().connections, 1)
    const isV2 = packets.some((packet) => packet.kind === 'handshake' && packet.version === Version.V2)
    assert.equal(isV2, name.endsWith('v2') || name === 'compatible-upgrade')
  })
}

test('Retry, resumption, 0-RTT and a migration are followed', async () => {
  const context = new ClientContext({ trust: { kind: 'ca', ca: [certificate] } })
  const variant: Variant = { listen: { accept: { retry: 'always' }, earlyData: true } }
  const { capture, seen } = await record('resumed', variant, async (dial) => {
    const first = await dial({ context, earlyData: true })
    await exchange(first, 1)
    assert.equal(first.migrate({ localAddress: '127.0.0.2' }), true)
    await exchange(first, 2)
    await until(() => first.paths()[0]?.localAddress === '127.0.0.2')
    await exchange(first, 3)
    await first.close(0, 'done')
    const second = await dial({ context, earlyData: true })
    await exchange(second, 4)
    await second.close(0, 'done')
  })
  context.close()
  const { packets, decoder } = decode(capture)
  assert.equal(decoder.totals().connections, 2)
  assert.deepEqual(
    side(packets.map(asSeen), true).map(key).sort(),
    side(seen, true).map(key).sort(),
    'all that was sent was opened',
  )
  for (const kind of ['retry', '0RTT'])
    assert.ok(
      packets.some((packet) => packet.kind === kind),
      kind,
    )
  assert.ok(packets.some(({ sender, from }) => sender === 'client' && from.startsWith('127.0.0.2')))
})

test('the connection ID of a preferred address is known from the handshake', async () => {
  const variant: Variant = { listen: { preferredAddress: { ipv4: { address: '127.0.0.2' } } } }
  const { capture, seen } = await record('preferred', variant, async (dial) => {
    const client = await dial()
    await until(() => client.paths()[0]?.remoteAddress === '127.0.0.2')
    await exchange(client, 1)
    await client.close(0, 'done')
  })
  const { packets } = decode(capture)
  assert.deepEqual(side(packets.map(asSeen), true), side(seen, true))
  assert.ok(packets.filter(({ to, sender }) => sender === 'client' && to.startsWith('127.0.0.2')).length > 10)
})

test('a key log beside a capture without secrets opens the same packets, however the file is cut', async () => {
  const { capture, keylog, seen } = await record('separate')
  const bare = withoutSecrets(capture)
  assert.ok(bare.length < capture.length)
  const closed = decode(bare).packets
  assert.ok(closed.filter((packet) => packet.problem === 'no keys').length > 100)
  assert.ok(
    closed.filter(({ kind }) => kind === 'initial').every(({ frames }) => frames !== undefined),
    'Initials need no secrets',
  )
  for (const chunkBytes of [1, 17, 1_000_000]) {
    const { packets } = decode(bare, keylog, chunkBytes)
    assert.deepEqual(side(packets.map(asSeen), true), side(seen, true))
  }
})

/** The capture with its Decryption Secrets Blocks taken out. */
function withoutSecrets(capture: Buffer): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at < capture.length; ) {
    const length = capture.readUInt32LE(at + 4)
    if (capture.readUInt32LE(at) !== 10) blocks.push(capture.subarray(at, at + length))
    at += length
  }
  return Buffer.concat(blocks)
}
