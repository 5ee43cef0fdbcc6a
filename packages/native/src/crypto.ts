/** The transport's `CryptoPort` and `RandomSource` over the native crate. */
import { randomBytes, randomFillSync } from 'node:crypto'
import type { CryptoPort, RandomSource } from '@quicether/transport'
import { addon } from './addon.ts'
import { guarded } from './native-error.ts'

export interface NativeCryptoOptions {
  /** 32 bytes that seal address-validation tokens. Random when absent: tokens then end with the process. */
  readonly tokenKey?: Uint8Array
  /** 32 bytes behind stateless reset tokens. Random when absent: resets then end with the process. */
  readonly resetKey?: Uint8Array
}

/** A `CryptoPort` whose endpoint keys can be wiped. Packet keys and spaces are closed one by one by their owner. */
export interface NativeCrypto extends CryptoPort {
  close(): void
}

/** @throws NativeError `ERR_RANGE` when a key has not 32 bytes. */
export function createNativeCrypto(options: NativeCryptoOptions = {}): NativeCrypto {
  const tokens = guarded(
    () => new addon.NativeTokenKeys(options.tokenKey ?? randomBytes(32), options.resetKey ?? randomBytes(32)),
  )
  return {
    seal: addon.sealPackets,
    open: addon.openPackets,
    initialKeys: (version, destinationCid, side) => addon.initialKeys(version, destinationCid, side === 'client'),
    keyLimits: addon.keyLimits,
    rotate: (keys) => addon.rotateKeys(keys.rx, keys.tx),
    dropPrevious: addon.dropPreviousKey,
    closeKey: addon.closeKey,
    createSpace: addon.createSpace,
    closeSpace: addon.closeSpace,
    retryIntegrityTag: addon.retryIntegrityTag,
    sealToken: (plaintext, associated, nonce) => tokens.sealToken(plaintext, associated, nonce),
    openToken: (token, associated) => tokens.openToken(token, associated) ?? undefined,
    statelessResetToken: (cid) => tokens.statelessResetToken(cid),
    close: () => tokens.close(),
  }
}

const POOL_BYTES = 4096
/** Longer requests go to the operating system directly. */
const POOLED_MAX = 64

/** The operating system's generator. Small amounts come from a pool, since the engine asks once per packet. */
export function systemRandom(): RandomSource {
  const pool = new Uint8Array(POOL_BYTES)
  let used = POOL_BYTES
  return {
    fill(bytes) {
      const { length } = bytes
      if (length > POOLED_MAX) {
        randomFillSync(bytes)
        return
      }
      if (used + length > POOL_BYTES) {
        randomFillSync(pool)
        used = 0
      }
      for (let index = 0; index < length; index++) {
        bytes[index] = pool[used] as number
        // Nothing handed out stays behind.
        pool[used] = 0
        used++
      }
    },
  }
}
