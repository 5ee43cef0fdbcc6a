/** Rows about what networks do: loss, corruption, delay, amplification, moves and congestion marks. */
import { both, type Case, get, KB, lost, MB } from './case.ts'

const reordering = { reorderRatio: 0.05, reorderMs: 15, duplicateRatio: 0.03, delayMs: 5, seed: 11 }

export const networkCases: readonly Case[] = [
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
    network: { delayMs: 5, rebindAfterBytes: [500 * KB, 1500 * KB] },
    judge: (e) => [
      e.wire.rebinds !== 2 && `${e.wire.rebinds} rebindings, not 2`,
      e.wire.toMovedAddress < 50 && 'the server hardly sent to the new port',
      e.serverQlog.files > 0 &&
        e.serverPeer.logsPathChallenges !== false &&
        e.serverQlog.pathChallenges === 0 &&
        'the server never challenged the new path',
    ],
  },
  {
    name: 'rebinding-address',
    proves: 'a NAT gives the client a new address and port in the middle of a transfer',
    connections: [{ requests: [...both, ...both] }],
    network: { delayMs: 5, rebindAfterBytes: [500 * KB], rebindHost: '127.0.0.2' },
    judge: (e) => [
      e.wire.rebinds !== 1 && `${e.wire.rebinds} rebindings, not 1`,
      e.wire.toMovedAddress < 50 && 'the server hardly sent to the new address',
      e.serverQlog.files > 0 &&
        e.serverPeer.logsPathChallenges !== false &&
        e.serverQlog.pathChallenges === 0 &&
        'the server never challenged the new path',
    ],
  },
  {
    name: 'migration',
    proves: 'the client moves to a new port of its own with a new connection ID',
    connections: [{ requests: [...both, ...both], migrateAfterBytes: 200 * KB }],
    network: { delayMs: 5 },
    needs: { client: ['migration'], server: ['migration'] },
    judge: (e) => [
      e.client.connections[0]?.migrations !== 1 && 'the client did not move',
      e.wire.accounts.size < 2 && 'the proxy saw one client address only',
      e.clientPeer.reusesConnectionIds === undefined &&
        e.wire.sharedDestinationCids().length > 0 &&
        'a connection ID was used on both addresses (RFC 9000 §9.5)',
      e.wire.toMovedAddress < 50 && 'the server hardly sent to the new port',
    ],
  },
  {
    name: 'preferred-address',
    proves: 'the server asks the client to another address in its transport parameters; the client goes there',
    connections: [{ requests: [get(MB), get(MB), get(MB), get(MB)] }],
    server: { preferredAddress: { address: '127.0.0.2' } },
    network: { delayMs: 5 },
    needs: { client: ['preferredAddress'], server: ['preferredAddress'] },
    judge: (e) => {
      const responses = e.client.connections.flatMap((connection) => connection.responses)
      const bodyBytes = responses.reduce((sum, response) => sum + response.bytes, 0)
      // The proxy stands before the first address only.
      return [
        2 * e.wire.toClient.bytes >= bodyBytes &&
          `${e.wire.toClient.bytes} of ${bodyBytes} bytes came from the first address: the client stayed`,
      ]
    },
  },
  {
    name: 'ecn',
    proves: 'packets are marked ECT(0) both ways, one in fifty comes back as CE, and neither side gives up marking',
    connections: [{ requests: [...both, ...both] }],
    network: { delayMs: 5, congestEvery: 50 },
    needs: { client: ['ecn'], server: ['ecn'] },
    judge: (e) => [
      e.wire.toClient.congested === 0 && e.wire.toServer.congested === 0 && 'the relay marked nothing as congested',
      e.wire.toServer.lastMarkedRatio < 0.5 &&
        'the client stopped marking: its counts did not match (RFC 9000 §13.4.2)',
      e.wire.toClient.lastMarkedRatio < 0.5 &&
        'the server stopped marking: its counts did not match (RFC 9000 §13.4.2)',
    ],
  },
]
