/** A crypto port that hands every call to another one; wrappers override what they want to see. */
import type { FakeCrypto } from './fake-crypto.ts'

/** Forwards everything to `inner`. Spread it and put the calls to be watched behind. */
export function forwardingCrypto(inner: FakeCrypto): FakeCrypto {
  return {
    installKeys: (level, rxSecret, txSecret) => inner.installKeys(level, rxSecret, txSecret),
    seal: (bytes, descriptors, count) => inner.seal(bytes, descriptors, count),
    open: (bytes, descriptors, count) => inner.open(bytes, descriptors, count),
    initialKeys: (version, cid, side) => inner.initialKeys(version, cid, side),
    keyLimits: (key) => inner.keyLimits(key),
    rotate: (keys) => inner.rotate(keys),
    dropPrevious: (rx) => inner.dropPrevious(rx),
    closeKey: (key) => inner.closeKey(key),
    createSpace: () => inner.createSpace(),
    closeSpace: (space) => inner.closeSpace(space),
    retryIntegrityTag: (version, packet) => inner.retryIntegrityTag(version, packet),
    sealToken: (plain, associated, nonce) => inner.sealToken(plain, associated, nonce),
    openToken: (token, associated) => inner.openToken(token, associated),
    statelessResetToken: (cid) => inner.statelessResetToken(cid),
    openKeys: () => inner.openKeys(),
    openSpaces: () => inner.openSpaces(),
    packetsSealed: () => inner.packetsSealed(),
    packetsOpened: () => inner.packetsOpened(),
    packetsRefused: () => inner.packetsRefused(),
  }
}
