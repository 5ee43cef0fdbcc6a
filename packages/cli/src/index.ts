/**
 * The library face of QuicEther: raw QUIC (`connect`, `listen`), HTTP/3 (`serve`, `Http3Agent`), WebTransport. The router is
 * `quicether/router`, the simulator `quicether/lab`.
 */
export * from '@quicether/http3'
export * from '@quicether/net'
export {
  type CloseReason,
  type ConnectionStats,
  type Lane,
  type PacketScheduler,
  type PacketSchedulerFactory,
  type PathState,
  type PathStatus,
  type PathView,
  type SendPolicy,
  type SendPolicyFactory,
  type StreamPriority,
  type StreamStats,
  type TransportConfig,
  transportDefaults,
  WAIT,
} from '@quicether/transport'
