/** Server: for which addresses of the client an address validation token (NEW_TOKEN) is owed. */
import type { PathTuple } from '../ports/datagrams.ts'
import type { Path } from './path.ts'

/** Addresses whose token the client has; the oldest is forgotten first. */
const ADDRESSES_KEPT = 8

/**
 * A token is good for one IP address. The client gets one for the address of the handshake, and another one when it has
 * moved to an address that it had none for, once that is validated. Paths beside the first one owe none: a client uses its
 * newest token first, which should be that of the address its next connection begins on.
 */
export class AddressTokens {
  /** A token for the remote address of this tuple is to be made; only the latest address counts. */
  owedFor: PathTuple | undefined = undefined
  readonly #known: string[] = []
  readonly #moved: WeakSet<Path> = new WeakSet()

  /** The handshake is confirmed: the client's address is known to be its own. */
  onConfirmed(path: Path): void {
    this.#owe(path.tuple)
  }

  onPathEvent(change: string, path: Path): void {
    if (change === 'migrated') this.#moved.add(path)
    // RFC 9000 §9.3: "After verifying a new client address, the server SHOULD send new address validation tokens (Section 8) to the client."
    else if (change === 'validated' && this.#moved.has(path)) this.#owe(path.tuple)
  }

  // RFC 9000 §13.3: "NEW_TOKEN frames are retransmitted if the packet containing them is lost."
  /** A packet with a token was lost: the address in use now gets one. */
  onLost(path: Path): void {
    if (path.isValidated) this.owedFor = path.tuple
  }

  #owe(tuple: PathTuple): void {
    const { remoteAddress } = tuple
    if (this.#known.includes(remoteAddress)) return
    this.#known.push(remoteAddress)
    if (this.#known.length > ADDRESSES_KEPT) this.#known.shift()
    this.owedFor = tuple
  }

  /** Takes the debt over; undefined when there is none. */
  take(): PathTuple | undefined {
    const tuple = this.owedFor
    this.owedFor = undefined
    return tuple
  }
}
