/** Deterministic stand-ins for cryptography, TLS and randomness, for tests and the virtual world. */
export { createFakeCrypto, type FakeCrypto, type FakeCryptoOptions } from './fake-crypto.ts'
export { createFakeTls, type FakeTls, type FakeTlsOptions } from './fake-tls.ts'
export { type ForgedPair, Forger, type ForgeOptions, type FramePart, forgedPair, frameBytes } from './forger.ts'
export { createSeededRandom, type SeededRandom } from './random.ts'
export {
  Pair,
  type PairOptions,
  type WireDatagram,
  type WireFilter,
  checkPattern,
  clientTuple,
  pattern,
  serverTuple,
  transfer,
} from './pair.ts'
export { forwardingCrypto } from './forwarding-crypto.ts'
