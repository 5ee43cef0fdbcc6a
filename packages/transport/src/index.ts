/** The protocol engine of QuicEther: sans-I/O, path-indexed, deterministic. */
export { type AckPath, ackPaths } from './ack/ack-path.ts'
export { type AcceptOptions, acceptDefaults } from './endpoint/acceptor.ts'
export { LOCAL_CID_LENGTH } from './cid/cid-table.ts'
export { type TransportConfig, resolveConfig, transportDefaults } from './config.ts'
export { type CongestionAlgorithm, congestionAlgorithms } from './congestion/algorithms.ts'
export { Connection } from './connection.ts'
export {
  type ConnectOptions,
  Endpoint,
  type EndpointEvent,
  type EndpointOptions,
  type ObserverInfo,
  type ServerOptions,
} from './endpoint/endpoint.ts'
export { QuicError } from './errors.ts'
export type { PreferredEndpoint } from './parameters.ts'
export { ANNOUNCED_ADDRESSES_MAX } from './path/address-announcer.ts'
export type { PathStatus } from './path/multipath.ts'
export * from './events.ts'
export * from './observe.ts'
export * from './ports/crypto.ts'
export * from './ports/datagrams.ts'
export {
  type Lane,
  type PacketScheduler,
  type PacketSchedulerFactory,
  type Schedule,
  WAIT,
} from './schedule/packet-scheduler.ts'
export { type PacketSchedulerName, packetSchedulers } from './schedule/schedulers.ts'
export { type SendPolicy, type SendPolicyFactory, combine, createSendPolicy } from './schedule/send-policy.ts'
export type { DatagramOptions } from './datagram/datagram-queue.ts'
export { type StreamScheduler, RoundRobinScheduler } from './stream/stream-scheduler.ts'
export { createStreamScheduler } from './stream/stream-schedulers.ts'
export type { StreamPriority } from './stream/stream-priority.ts'
export { concat, gather, PieceJoiner } from './stream/piece-joiner.ts'
export { StreamWriter } from './stream/stream-writer.ts'
export { type StreamSchedulerName, streamSchedulers } from './stream/stream-schedulers.ts'
export type { ConnectionStats, PathState, PathView } from './stats.ts'
