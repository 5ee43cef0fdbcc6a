/** TLS secrets by client random, out of key logs in the NSS format. */

/** Handshakes whose secrets are kept; the oldest go first. */
const HANDSHAKES_MAX = 50_000

export interface TlsSecrets {
  earlyClient: Uint8Array | undefined
  handshakeClient: Uint8Array | undefined
  handshakeServer: Uint8Array | undefined
  oneRttClient: Uint8Array | undefined
  oneRttServer: Uint8Array | undefined
}

const fields: Readonly<Record<string, keyof TlsSecrets>> = {
  CLIENT_EARLY_TRAFFIC_SECRET: 'earlyClient',
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: 'handshakeClient',
  SERVER_HANDSHAKE_TRAFFIC_SECRET: 'handshakeServer',
  CLIENT_TRAFFIC_SECRET_0: 'oneRttClient',
  SERVER_TRAFFIC_SECRET_0: 'oneRttServer',
}

/** Filled from a file or from the secrets inside a capture. */
export class KeyLogTable {
  /** Lines that named a secret of TLS 1.3 for packets. */
  linesUsed = 0
  readonly #byRandom = new Map<string, TlsSecrets>()

  /** Takes any text; what is no line of a key log is passed over. */
  add(text: string): void {
    for (const line of text.split('\n')) {
      const match = /^([A-Z0-9_]+) ([0-9a-fA-F]{64}) ((?:[0-9a-fA-F]{2}){32,64})\s*$/.exec(line)
      const field = match === null ? undefined : fields[match[1] as string]
      if (match === null || field === undefined) continue
      this.#secretsOf((match[2] as string).toLowerCase())[field] = Buffer.from(match[3] as string, 'hex')
      this.linesUsed++
    }
  }

  /** Secrets of the handshake with this client random (hex); filled further when more lines come. */
  get(clientRandom: string): TlsSecrets | undefined {
    return this.#byRandom.get(clientRandom)
  }

  #secretsOf(clientRandom: string): TlsSecrets {
    const known = this.#byRandom.get(clientRandom)
    if (known !== undefined) return known
    if (this.#byRandom.size >= HANDSHAKES_MAX) {
      const [oldest] = this.#byRandom.keys()
      if (oldest !== undefined) this.#byRandom.delete(oldest)
    }
    const none = undefined
    const fresh = {
      earlyClient: none,
      handshakeClient: none,
      handshakeServer: none,
      oneRttClient: none,
      oneRttServer: none,
    }
    this.#byRandom.set(clientRandom, fresh)
    return fresh
  }
}
