/** The protocol engine of QuicEther: sans-I/O, path-indexed, deterministic. */
export * from './events.ts'
export * from './observe.ts'
export * from './ports/crypto.ts'
export * from './ports/datagrams.ts'
