/** The native half of QuicEther behind the ports of the transport: cryptography, TLS, UDP, certificates. */
export * from './certificates.ts'
export * from './crypto.ts'
export { NativeError } from './native-error.ts'
export * from './tls.ts'
export * from './udp-socket.ts'
