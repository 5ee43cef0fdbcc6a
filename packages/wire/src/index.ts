/** Bytes and their meaning: integers, headers, frames, transport parameters. No state, no I/O. */
export * from './errors.ts'
export * from './frame-types.ts'
export * from './frames.ts'
export * from './header.ts'
export * from './server-addresses.ts'
export * from './transport-parameters.ts'
export * from './varint.ts'
export * from './version.ts'
