/** QUIC over real sockets: `listen`, `connect`, and what makes connections visible. */
export type {
  CertificateIdentity,
  GeneratedCertificate,
  Identity,
  KeyLog,
  Pem,
  RawKeyIdentity,
  Trust,
} from '@quicether/native'
export { generateCertificate, readCertificate } from '@quicether/native'
export { QuicError } from '@quicether/transport'
export * from './capture/index.ts'
export { ClientContext } from './client-context.ts'
export type { MigrateOptions, OpenPathOptions } from './client-paths.ts'
export { describeCloseReason } from './close-reason.ts'
export { type ConnectOptions, connect } from './connect.ts'
export { type Handshake, QuicConnection } from './connection.ts'
export * from './decode/index.ts'
export { type Diagnostics, type DiagnosticsOptions, openDiagnostics } from './diagnostics.ts'
export { Driver, type DriverOptions, epochOffsetUs, nowUs } from './driver.ts'
export { canonicalIp, formatAddress } from './ip-address.ts'
export { type ListenerCloseOptions, type ListenerStats, type ListenOptions, listen, QuicListener } from './listen.ts'
export type { Health } from './connection-health.ts'
export { type AddressChange, InterfaceWatch, type InterfaceWatchOptions, type LocalAddress } from './interface-watch.ts'
export { PathPolicy, type PathPlan } from './path-policy.ts'
export { type PathPolicyOptions, pathPolicyDefaults } from './path-policy-options.ts'
export * from './qlog/index.ts'
export type { AddressOption, PreferredAddressOption } from './server-addresses.ts'
export type { RelayStats, SeatStats, SharedSocket } from './workers/messages.ts'
export { WorkerSeat } from './workers/seat.ts'
export {
  type ReloadOptions,
  serveWorkers,
  type WorkerFailure,
  WorkerGroup,
  type WorkerGroupOptions,
  type WorkerGroupStats,
} from './workers/worker-group.ts'
export type { WorkerModule, WorkerService } from './workers/worker-module.ts'
export { QuicDatagrams } from './streams/datagrams.ts'
export { type DuplexSource, toDuplex } from './streams/duplex.ts'
export { QuicStream, QuicStreamError, type QuicStreamParts, type StreamCodes } from './streams/quic-stream.ts'
export type { OpenStreamOptions } from './streams/stream-hub.ts'
export { type BindOptions, type BoundSocket, UdpPort, type UdpPortStats } from './udp-port.ts'
