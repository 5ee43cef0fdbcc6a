/** What several connections of a client share: trust, identity, remembered sessions and tokens. */
import {
  type ClientContextOptions,
  createClientContext as createTls,
  type KeyLog,
  type NativeClientContext,
} from '@quicether/native'
import type { TlsClientContext } from '@quicether/transport'
import { nativeCall } from './native-call.ts'

/** Servers whose address-validation tokens are remembered. */
const TOKEN_SERVERS_MAX = 256
const TOKENS_PER_SERVER_MAX = 4

/** Keep one for as long as connections should be resumed; `close` when done. */
export class ClientContext implements Disposable {
  readonly tls: TlsClientContext
  readonly #tls: NativeClientContext
  readonly #keyLogs: Set<KeyLog> = new Set()
  readonly #tokens: Map<string, Uint8Array[]> = new Map()

  /** @throws QuicError naming the file at fault: `ERR_CA`, `ERR_CERTIFICATE…`, `ERR_PRIVATE_KEY`, `ERR_KEY_MISMATCH`. */
  constructor(options: ClientContextOptions) {
    if (options.keyLog !== undefined) this.#keyLogs.add(options.keyLog)
    const keyLog = (line: string) => {
      for (const log of this.#keyLogs) log(line)
    }
    this.#tls = nativeCall(() => createTls({ ...options, keyLog }))
    this.tls = this.#tls
  }

  /** Adds a taker of key log lines; the returned function removes it. */
  addKeyLog(log: KeyLog): () => void {
    this.#keyLogs.add(log)
    return () => this.#keyLogs.delete(log)
  }

  /** RFC 9000 §8.1.3: "A client SHOULD NOT reuse a token from a NEW_TOKEN frame for different connection attempts". */
  takeToken(server: string): Uint8Array | undefined {
    return this.#tokens.get(server)?.pop()
  }

  rememberToken(server: string, token: Uint8Array): void {
    const tokens = this.#tokens.get(server) ?? []
    tokens.push(token)
    if (tokens.length > TOKENS_PER_SERVER_MAX) tokens.shift()
    // Re-entered at the end: the first of the map is then the one not heard of for longest.
    this.#tokens.delete(server)
    this.#tokens.set(server, tokens)
    const [oldest] = this.#tokens.keys()
    if (this.#tokens.size > TOKEN_SERVERS_MAX && oldest !== undefined) this.#tokens.delete(oldest)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  close(): void {
    this.#tls.close()
    this.#tokens.clear()
  }
}
