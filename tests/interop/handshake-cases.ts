/** Rows about the handshake, versions, keys, sessions and plain transfers. */
import { both, type Case, cipherIs, echo, get, KB, keysUpdated, lost, MB, spoke, upload } from './case.ts'
import { VERSION_1, VERSION_2 } from './datagram-view.ts'
import type { Peer } from './peers.ts'

/** One side that chooses is enough. */
const needsChoice = (client: Peer, server: Peer): string | undefined =>
  client.clientLacks.chooseCipher !== undefined && server.serverLacks.chooseCipher !== undefined
    ? client.clientLacks.chooseCipher
    : undefined

const lossAndReordering = {
  lossRatio: 0.03,
  reorderRatio: 0.05,
  reorderMs: 15,
  duplicateRatio: 0.03,
  delayMs: 5,
  seed: 11,
}

export const handshakeCases: readonly Case[] = [
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
    name: 'upload',
    proves: '1 MB up on each of two streams',
    connections: [{ requests: [upload(MB), upload(MB)] }],
    judge: (e) => [e.wire.toServer.bytes < 2 * MB && 'fewer bytes than the bodies have went to the server'],
  },
  {
    name: 'small-windows',
    proves: '1 MB both ways with flow control windows of 24 kB on both sides',
    connections: [{ requests: both }],
    needs: { client: ['windows'], server: ['windows'] },
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
    needs: { server: ['retry'] },
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
    needs: { server: ['retry'] },
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
    needs: { client: ['reservedVersion'] },
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
    needs: { client: ['version2'] },
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
    needs: { client: ['version2'], server: ['version2'] },
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
    needs: { client: ['version2', 'compatibleVersions'], server: ['version2', 'compatibleVersions'] },
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
    unsupported: needsChoice,
    judge: cipherIs('chacha20'),
  },
  {
    name: 'aes256',
    proves: 'AES-256-GCM',
    connections: [{ requests: both }],
    client: { cipher: 'aes256' },
    server: { cipher: 'aes256' },
    unsupported: needsChoice,
    judge: cipherIs('aes256'),
  },
  {
    name: 'key-update-by-client',
    proves: 'the client updates its keys in the middle of 2 MB both ways (quic-go: both sides after 100 packets)',
    connections: [{ requests: [...both, ...both], keyUpdateAfterBytes: 300 * KB }],
    needs: { client: ['keyUpdate'] },
    judge: (e) => keysUpdated(e),
  },
  {
    name: 'key-update-by-server',
    proves: 'the server updates its keys in the middle of 2 MB both ways (quic-go: both sides after 100 packets)',
    connections: [{ requests: [...both, ...both] }],
    server: { keyUpdateAfterBytes: 300 * KB },
    needs: { server: ['keyUpdate'] },
    judge: (e) => keysUpdated(e),
  },
  {
    name: 'key-update-loss',
    proves: 'a key update while 3 % of all packets are lost and some come late',
    connections: [{ requests: both, keyUpdateAfterBytes: 300 * KB }],
    needs: { client: ['keyUpdate'] },
    network: lossAndReordering,
    judge: (e) => [...keysUpdated(e), lost(e)],
  },
  {
    name: 'resumption',
    proves: 'the second connection resumes the session of the first',
    connections: [{ requests: [get(10 * KB)] }, { requests: [get(10 * KB)], resume: true }],
    needs: { client: ['resumption'], server: ['resumption'] },
    judge: (e) => [
      e.client.connections[0]?.resumed === true && 'the first connection claims to be resumed',
      e.client.connections[1]?.resumed === false && 'the client says that the second was not resumed',
      !e.server.some((c) => c.resumed !== false) && 'the server says that none was resumed',
      ![...e.client.connections, ...e.server].some((c) => c.resumed === true) && 'neither side saw a resumption',
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
    needs: { client: ['zeroRtt'], server: ['zeroRtt'] },
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
    needs: { client: ['zeroRtt'], server: ['zeroRtt'] },
    judge: (e) => [e.wire.zeroRttPackets === 0 && 'no 0-RTT packet passed the proxy', lost(e)],
  },
]
