/** A crypto port that remembers the keys of the newest connection, so that an attacker can go on in its name. */
import { DESCRIPTOR_WORDS, type KeyPair, Level, NO_KEY, OpenIn, Seal } from '@quicether/transport'
import { type FakeCrypto, forwardingCrypto } from '@quicether/transport/testing'

const TWO_32 = 2 ** 32

/** What a takeover needs to know. */
export interface Captured {
  keys: KeyPair
  /** Next 1-RTT packet number. */
  packetNumber: number
  /** Space handle that expands the victim's 1-RTT packet numbers. */
  space: number
}

export interface SpyCrypto extends FakeCrypto {
  readonly captured: Captured
}

/** Wraps `inner`; the fake TLS must be made with the wrapper too, so that keys pass through it. */
export function spyOn(inner: FakeCrypto): SpyCrypto {
  const captured: Captured = { keys: { rx: NO_KEY, tx: NO_KEY }, packetNumber: 0, space: 0 }
  return {
    ...forwardingCrypto(inner),
    captured,
    installKeys(level, rxSecret, txSecret): KeyPair {
      const keys = inner.installKeys(level, rxSecret, txSecret)
      if (level === Level.OneRtt) {
        captured.keys = keys
        captured.packetNumber = 0
      }
      return keys
    },
    seal(bytes, descriptors, count): void {
      for (let i = 0; i < count; i++) {
        const base = i * DESCRIPTOR_WORDS
        if (descriptors[base + Seal.KeyId] !== captured.keys.tx) continue
        const high = descriptors[base + Seal.PnHigh] ?? 0
        const low = (descriptors[base + Seal.PnLow] ?? 0) >>> 0
        captured.packetNumber = Math.max(captured.packetNumber, high * TWO_32 + low + 1)
      }
      inner.seal(bytes, descriptors, count)
    },
    open(bytes, descriptors, count): void {
      for (let i = 0; i < count; i++) {
        const base = i * DESCRIPTOR_WORDS
        if (descriptors[base + OpenIn.KeyId] === captured.keys.rx)
          captured.space = descriptors[base + OpenIn.Space] ?? 0
      }
      inner.open(bytes, descriptors, count)
    },
  }
}
