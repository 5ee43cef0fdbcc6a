/** The rows of the matrix: what client and server are told, what the network does to them, and how it is judged. */
import { createHash } from 'node:crypto'
import { encodeFrame } from '../../packages/router/src/services/video-framing.ts'
import { bodySha256 } from './body.ts'
import { VERSION_1, VERSION_2 } from './datagram-view.ts'
import type { Impairments } from './lossy-proxy.ts'
import type { Peer } from './peers.ts'
import type { QlogFacts } from './qlog-facts.ts'
import type {
  ClientResult,
  ClientSpec,
  ConnectionSpec,
  RequestSpec,
  ServerConnectionFacts,
  ServerSpec,
} from './spec.ts'
import type { WireFacts } from './wire-facts.ts'

/** Everything known after a cell has run; checks read it and add a sentence for each thing that is wrong. */
export interface Evidence {
  readonly client: ClientResult
  readonly server: readonly ServerConnectionFacts[]
  readonly wire: WireFacts
  readonly clientQlog: QlogFacts
  readonly serverQlog: QlogFacts
  /** Router case: what each service counted, asked directly over HTTP at the end. */
  readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly clientPeer: Peer
  readonly serverPeer: Peer
}

export interface Case {
  readonly name: string
  readonly proves: string
  readonly connections: readonly ConnectionSpec[]
  readonly client?: Partial<ClientSpec>
  readonly server?: Partial<ServerSpec>
  readonly certificate?: 'plain' | 'large'
  readonly host?: string
  /** `router`: the server is `quicether router` with the three demo services behind it. */
  readonly serverKind?: 'router'
  readonly network?: Impairments
  /** Why this pair cannot be asked, or undefined. */
  readonly unsupported?: (client: Peer, server: Peer) => string | undefined
  /** Sentences about what is wrong; none = passed. Checksums, statuses and wire rules are judged for every case. */
  readonly judge: (evidence: Evidence) => (string | false)[]
}

const KB = 1024
const MB = 1024 * KB

const get = (bytes: number): RequestSpec => ({ method: 'GET', path: `/bytes/${bytes}` })
const upload = (bytes: number): RequestSpec => ({ method: 'POST', path: '/upload', size: bytes })
const echo = (bytes: number): RequestSpec => ({ method: 'POST', path: '/echo', size: bytes })
const both = [get(MB), upload(MB)]

/** SHA-256 that the answer to this request must have, and the status. */
export function expectedAnswer(request: RequestSpec): { bytes: number; sha256: string } | undefined {
  if (request.path.startsWith('/bytes/')) {
    const bytes = Number(request.path.split('/')[2])
    return { bytes, sha256: bodySha256(bytes) }
  }
  if (request.path === '/echo') return { bytes: request.size ?? 0, sha256: bodySha256(request.size ?? 0) }
  return undefined
}

const prose = 'the cat and the dog and the bird'.repeat(1000).replaceAll('birdthe', 'bird the')
const ANALYZE = '/text/analyze?top=3'
const TRANSFORM = '/text/transform?mode=upper'
const STREAM = '/video/stream?frames=30&fps=0&bytes=2000&seed=3'
const FRAMES = 50
const base64 = (data: string | Uint8Array): string => Buffer.from(data).toString('base64')
const frames = Array.from({ length: FRAMES }, (_, index) => encodeFrame(index, index * 33_000, 4000, 7))

const serviceRequests: readonly RequestSpec[] = [
  { method: 'POST', path: ANALYZE, base64: base64(prose) },
  { method: 'POST', path: TRANSFORM, base64: base64(prose) },
  {
    method: 'POST',
    path: '/control/command',
    headers: [['content-type', 'application/json']],
    base64: base64('[{"command":"set","key":"interop","value":41},{"command":"get","key":"interop"}]'),
  },
  { method: 'POST', path: '/video/upload', base64: base64(Buffer.concat(frames)) },
  { method: 'GET', path: STREAM },
]

const spoke = (e: Evidence, version: number): string | false => {
  const wrong = e.client.connections.find((c) => c.version !== version)
  return (
    wrong !== undefined && `the client speaks version 0x${wrong.version.toString(16)}, not 0x${version.toString(16)}`
  )
}

const lost = (e: Evidence): string | false =>
  e.wire.toClient.dropped + e.wire.toServer.dropped === 0 && 'the proxy dropped nothing: the case proved nothing'

const cipherIs =
  (word: string) =>
  (e: Evidence): (string | false)[] => {
    const normal = (text: string | null): string => (text ?? 'none').replaceAll('_', '').toLowerCase()
    return [...e.client.connections, ...e.server].map(
      (c) => !normal(c.cipher).includes(word) && `cipher is ${c.cipher}, not ${word}`,
    )
  }

const reordering = { reorderRatio: 0.05, reorderMs: 15, duplicateRatio: 0.03, delayMs: 5, seed: 11 }

export const cases: readonly Case[] = [
  {
    name: 'handshake',
    proves: 'a handshake with ALPN h3, one small request, a clean close',
    connections: [{ requests: [get(1000)] }],
    judge: (e) => [
      spoke(e, VERSION_1),
      e.client.connections[0]?.alpn !== 'h3' && `ALPN is ${e.client.connections[0]?.alpn}`,
      e.server[0]?.closed?.code !== 0x100 &&
        `the server saw close ${JSON.stringify(e.server[0]?.closed)}, not H3_NO_ERROR`,
      e.wire.retries > 0 && 'there was a Retry that nobody asked for',
    ],
  },
  {
    name: 'handshake-ipv6',
    proves: 'the same over IPv6',
    host: '::1',
    connections: [{ requests: [get(1000)] }],
    judge: (e) => [spoke(e, VERSION_1)],
  },
  {
    name: 'transfer',
    proves: '2 MB down, 2 MB up and 256 kB echoed at once on five streams of one connection',
    connections: [{ requests: [...both, ...both, echo(256 * KB)] }],
    judge: (e) => [e.server.length !== 1 && `${e.server.length} connections reached the server, not 1`],
  },
  {
    name: 'small-windows',
    proves: '1 MB both ways with flow control windows of 24 kB on both sides',
    connections: [{ requests: both }],
    client: { windowBytes: 24 * KB },
    server: { windowBytes: 24 * KB },
    judge: () => [],
  },
  {
    name: 'multiplexing',
    proves: '300 requests at once on one connection, more than the peer lets be open together',
    connections: [{ requests: Array.from({ length: 300 }, (_, index) => get(100 + index)) }],
    server: { streamsMax: 50 },
    judge: (e) => [e.client.connections[0]?.responses.length !== 300 && 'not 300 answers'],
  },
  {
    name: 'retry',
    proves: 'the server answers by Retry, the client comes back with the token',
    connections: [{ requests: [get(10 * KB)] }],
    server: { retry: true },
    judge: (e) => [
      e.wire.retries === 0 && 'no Retry packet passed the proxy',
      e.wire.initialsWithToken === 0 && 'no Initial carried a token',
    ],
  },
  {
    name: 'retry-loss',
    proves: 'Retry with the first Retry and the first Initial after it lost',
    connections: [{ requests: [get(10 * KB)] }],
    server: { retry: true },
    network: { drop: { toClient: [0, 2], toServer: [2] } },
    judge: (e) => [
      e.wire.retries < 2 && 'there was no second Retry',
      e.wire.initialsWithToken === 0 && 'no token',
      lost(e),
    ],
  },
  {
    name: 'version-negotiation',
    proves: 'the client starts with a reserved version and is led to version 1',
    connections: [{ requests: [get(10 * KB)] }],
    client: { versions: ['reserved', '1'] },
    server: { versions: ['1'] },
    unsupported: (client) => client.clientLacks.reservedVersion,
    judge: (e) => [
      e.wire.versionNegotiations === 0 && 'no Version Negotiation packet passed the proxy',
      !e.wire.clientVersions.includes(0x1a2a3a4a) && 'the client never tried the reserved version',
      spoke(e, VERSION_1),
    ],
  },
  {
    name: 'version-2-refused',
    proves: 'the client starts with version 2, the server speaks only 1: Version Negotiation',
    connections: [{ requests: [get(10 * KB)] }],
    client: { versions: ['2', '1'] },
    server: { versions: ['1'] },
    judge: (e) => [
      e.wire.versionNegotiations === 0 && 'no Version Negotiation packet passed the proxy',
      !e.wire.clientVersions.includes(VERSION_2) && 'the client never tried version 2',
      spoke(e, VERSION_1),
    ],
  },
  {
    name: 'version-2',
    proves: 'QUIC version 2 from the first packet (RFC 9369)',
    connections: [{ requests: both }],
    client: { versions: ['2', '1'] },
    server: { versions: ['2', '1'] },
    judge: (e) => [
      spoke(e, VERSION_2),
      e.wire.clientVersions.includes(VERSION_1) && 'the client also sent version 1',
      e.wire.versionNegotiations > 0 && 'there was a Version Negotiation packet',
    ],
  },
  {
    name: 'version-2-compatible',
    proves: 'starts as version 1 and becomes version 2 without an extra round trip (RFC 9368)',
    connections: [{ requests: both }],
    client: { versions: ['2', '1'], firstVersion: '1' },
    server: { versions: ['2', '1'] },
    unsupported: (client, server) => client.clientLacks.compatibleVersions ?? server.serverLacks.compatibleVersions,
    judge: (e) => [
      e.wire.clientVersions[0] !== VERSION_1 && 'the first Initial was not version 1',
      spoke(e, VERSION_2),
      e.wire.versionNegotiations > 0 && 'there was a Version Negotiation packet',
    ],
  },
  {
    name: 'chacha20',
    proves: 'ChaCha20-Poly1305 for packets and headers',
    connections: [{ requests: both }],
    client: { cipher: 'chacha20' },
    server: { cipher: 'chacha20' },
    unsupported: (client, server) =>
      client.clientLacks.chooseCipher !== undefined && server.serverLacks.chooseCipher !== undefined
        ? client.clientLacks.chooseCipher
        : undefined,
    judge: cipherIs('chacha20'),
  },
  {
    name: 'aes256',
    proves: 'AES-256-GCM',
    connections: [{ requests: both }],
    client: { cipher: 'aes256' },
    server: { cipher: 'aes256' },
    unsupported: (client, server) =>
      client.clientLacks.chooseCipher !== undefined && server.serverLacks.chooseCipher !== undefined
        ? client.clientLacks.chooseCipher
        : undefined,
    judge: cipherIs('aes256'),
  },
  {
    name: 'key-update-by-client',
    proves: 'the client updates its keys in the middle of 2 MB both ways (quic-go: both sides after 100 packets)',
    connections: [{ requests: [...both, ...both], keyUpdateAfterBytes: 300 * KB }],
    judge: (e) => keysUpdated(e),
  },
  {
    name: 'key-update-by-server',
    proves: 'the server updates its keys in the middle of 2 MB both ways (quic-go: both sides after 100 packets)',
    connections: [{ requests: [...both, ...both] }],
    server: { keyUpdateAfterBytes: 300 * KB },
    judge: (e) => keysUpdated(e),
  },
  {
    name: 'key-update-loss',
    proves: 'a key update while 3 % of all packets are lost and some come late',
    connections: [{ requests: both, keyUpdateAfterBytes: 300 * KB }],
    network: { ...reordering, lossRatio: 0.03 },
    judge: (e) => [...keysUpdated(e), lost(e)],
  },
  {
    name: 'resumption',
    proves: 'the second connection resumes the session of the first',
    connections: [{ requests: [get(10 * KB)] }, { requests: [get(10 * KB)], resume: true }],
    judge: (e) => [
      e.client.connections[0]?.resumed === true && 'the first connection claims to be resumed',
      e.client.connections[1]?.resumed !== true && 'the client says that the second was not resumed',
      !e.server.some((c) => c.resumed) && 'the server says that none was resumed',
    ],
  },
  {
    name: 'zero-rtt',
    proves: 'requests of the second connection travel as 0-RTT and are accepted',
    connections: [
      { requests: [get(10 * KB)] },
      { requests: [get(2000), get(3000), get(4000)], resume: true, earlyData: true },
    ],
    network: { delayMs: 20 },
    judge: (e) => [
      e.wire.zeroRttPackets === 0 && 'no 0-RTT packet passed the proxy',
      e.client.connections[1]?.earlyData !== true && 'the client says that early data was not accepted',
      !e.server.some((c) => c.earlyData) && 'the server says that it accepted no early data',
      !e.server.some((c) => (c.requests ?? []).some((r) => r.early)) &&
        'no request reached the server before its handshake was complete',
    ],
  },
  {
    name: 'zero-rtt-loss',
    proves: '0-RTT with the first 0-RTT datagrams of the client lost',
    connections: [{ requests: [get(1000)] }, { requests: [get(2000), get(3000)], resume: true, earlyData: true }],
    network: { delayMs: 10, lossRatio: 0.2, seed: 5 },
    judge: (e) => [e.wire.zeroRttPackets === 0 && 'no 0-RTT packet passed the proxy', lost(e)],
  },
  {
    name: 'loss',
    proves: '1 MB both ways with 3 % loss in both directions',
    connections: [{ requests: both }],
    network: { lossRatio: 0.03, delayMs: 5, seed: 3 },
    judge: (e) => [lost(e)],
  },
  {
    name: 'corruption',
    proves: '1 MB both ways with 2 % of the datagrams corrupted',
    connections: [{ requests: both }],
    network: { corruptRatio: 0.02, delayMs: 5, seed: 4 },
    judge: (e) => [e.wire.toClient.corrupted + e.wire.toServer.corrupted === 0 && 'the proxy corrupted nothing'],
  },
  {
    name: 'reordering',
    proves: '1 MB both ways, 5 % of the datagrams late and 3 % twice',
    connections: [{ requests: both }],
    network: reordering,
    judge: (e) => [
      e.wire.toClient.reordered === 0 && 'nothing was reordered',
      e.wire.toClient.duplicated === 0 && 'nothing came twice',
    ],
  },
  {
    name: 'handshake-loss',
    proves: 'eight handshakes one after the other with 25 % loss',
    connections: Array.from({ length: 8 }, () => ({ requests: [get(1000)] })),
    network: { lossRatio: 0.25, delayMs: 5, seed: 21 },
    judge: (e) => [e.client.connections.length !== 8 && 'not all eight', lost(e)],
  },
  {
    name: 'handshake-corruption',
    proves: 'eight handshakes one after the other with 25 % of the datagrams corrupted',
    connections: Array.from({ length: 8 }, () => ({ requests: [get(1000)] })),
    network: { corruptRatio: 0.25, delayMs: 5, seed: 22 },
    judge: (e) => [
      e.client.connections.length !== 8 && 'not all eight',
      e.wire.toClient.corrupted === 0 && 'nothing was corrupted',
    ],
  },
  {
    name: 'first-flight-lost',
    proves: 'the first datagram of the client and the whole first flight of the server are lost',
    connections: [{ requests: [get(10 * KB)] }],
    network: { drop: { toServer: [0], toClient: [0, 1, 2] }, delayMs: 2 },
    judge: (e) => [e.wire.toServer.dropped + e.wire.toClient.dropped < 4 && 'fewer than four datagrams were dropped'],
  },
  {
    name: 'amplification',
    proves: 'a certificate of 10 kB: the server stops at three times the bytes received and goes on later',
    connections: [{ requests: [get(10 * KB)] }],
    certificate: 'large',
    network: { delayMs: 10 },
    judge: (e) => [
      e.wire.amplificationRatioMax < 1.5 && 'the server never came near the limit: the case proved nothing',
    ],
  },
  {
    name: 'amplification-loss',
    proves: 'the same with 15 % loss: no deadlock (RFC 9002 §6.2.2.1)',
    connections: Array.from({ length: 3 }, () => ({ requests: [get(1000)] })),
    certificate: 'large',
    network: { delayMs: 10, lossRatio: 0.15, seed: 9 },
    judge: (e) => [lost(e)],
  },
  {
    name: 'long-rtt',
    proves: 'a handshake and 100 kB with 400 ms of round-trip time, no spurious failure',
    connections: [{ requests: [get(100 * KB)] }],
    network: { delayMs: 200 },
    judge: (e) => [(e.client.connections[0]?.handshakeMs ?? 0) < 400 && 'the handshake was faster than one round trip'],
  },
  {
    name: 'blackhole',
    proves: 'nothing passes for 1.5 s in the middle of a download; it goes on after that',
    connections: [{ requests: [get(2 * MB)] }],
    network: { delayMs: 5, blackhole: { afterBytes: 400 * KB, forMs: 1500 } },
    judge: (e) => [lost(e)],
  },
  {
    name: 'rebinding',
    proves: 'a NAT gives the client a new port twice in the middle of a transfer',
    connections: [{ requests: [...both, ...both] }],
    network: { delayMs: 5, rebindAfterBytes: [500 * KB, 2500 * KB] },
    judge: (e) => [
      e.wire.rebinds !== 2 && `${e.wire.rebinds} rebindings, not 2`,
      e.wire.toMovedAddress < 50 && 'the server hardly sent to the new port',
      e.serverQlog.files > 0 && e.serverQlog.pathChallenges === 0 && 'the server never challenged the new path',
    ],
  },
  {
    name: 'migration',
    proves: 'the client moves to a new port of its own with a new connection ID',
    connections: [{ requests: [...both, ...both], migrateAfterBytes: 200 * KB }],
    network: { delayMs: 5 },
    unsupported: (client) => client.clientLacks.migration,
    judge: (e) => [
      e.client.connections[0]?.migrations !== 1 && 'the client did not move',
      e.wire.accounts.size < 2 && 'the proxy saw one client address only',
      e.wire.sharedDestinationCids().length > 0 && 'a connection ID was used on both addresses (RFC 9000 §9.5)',
      e.wire.toMovedAddress < 50 && 'the server hardly sent to the new port',
    ],
  },
  {
    name: 'router-services',
    proves:
      'requests to the video, text and control services through `quicether router`, on parallel streams of one connection',
    connections: [{ requests: serviceRequests }],
    serverKind: 'router',
    network: { delayMs: 2, lossRatio: 0.01, seed: 8 },
    unsupported: (_client, server) => (server.hasRouter ? undefined : 'only QuicEther brings a router'),
    judge: judgeServices,
  },
]

/** One JSON answer of a service, or undefined with a reason. */
function answerOf(e: Evidence, path: string): Record<string, unknown> | undefined {
  const response = e.client.connections[0]?.responses.find((r) => r.path === path)
  try {
    const value: unknown = JSON.parse(response?.text ?? '')
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

function judgeServices(e: Evidence): (string | false)[] {
  const text = answerOf(e, ANALYZE)
  const control = answerOf(e, '/control/command')
  const upload = answerOf(e, '/video/upload')
  const transformed = e.client.connections[0]?.responses.find((r) => r.path === TRANSFORM)
  const stream = e.client.connections[0]?.responses.find((r) => r.path === STREAM)
  const sha256 = createHash('sha256').update(prose).digest('hex')
  return [
    (text?.words !== 8000 || text?.sha256 !== sha256) && `text service: ${JSON.stringify(text)?.slice(0, 200)}`,
    transformed?.sha256 !== createHash('sha256').update(prose.toUpperCase()).digest('hex') &&
      'text service: the transformed text is wrong',
    JSON.stringify(control?.results) !== '[{"ok":true,"result":{"previous":null}},{"ok":true,"result":41}]' &&
      `control service: ${JSON.stringify(control)}`,
    (upload?.frames !== FRAMES || upload?.framesMissing !== 0 || upload?.framesDamaged !== 0) &&
      `video service: ${JSON.stringify(upload)}`,
    stream?.bytes !== 30 * (2000 + 24) && `video stream: ${stream?.bytes} bytes, not ${30 * 2024}`,
    e.services.text?.analyses !== 1 && `the text service counted ${JSON.stringify(e.services.text)}`,
    e.services.video?.uploads !== 1 && `the video service counted ${JSON.stringify(e.services.video)}`,
    e.services.video?.streams !== 1 && `the video service counted ${JSON.stringify(e.services.video)}`,
    e.services.control?.keys !== 1 && `the control service counted ${JSON.stringify(e.services.control)}`,
  ]
}

function keysUpdated(e: Evidence): (string | false)[] {
  return [
    e.clientQlog.files === 0 && 'the client wrote no qlog',
    e.serverQlog.files === 0 && 'the server wrote no qlog',
    e.clientQlog.keyUpdates === 0 && 'the client log shows no key update',
    e.serverQlog.keyUpdates === 0 && 'the server log shows no key update',
  ]
}
