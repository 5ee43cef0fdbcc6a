/** Looks at the wire from outside and refuses what no endpoint may ever do, whatever it thinks of itself. */
import type { Micros } from '@quicether/transport'
import { HeaderStatus, HeaderView, PacketType, Version } from '@quicether/wire'
import type { Datagram } from './datagram.ts'
import type { Host } from './host.ts'
import { SafetyError } from './transfers.ts'
import { formatTime } from './timeline.ts'
import type { WorldObserver } from './world.ts'

interface Balance {
  received: number
  sent: number
  isValidated: boolean
}

/**
 * RFC 9000 §8: before an address is validated, a server sends it at most three times what it received from it.
 * Counted per remote address and port, from datagrams alone. An address counts as validated once a Handshake packet
 * or an Initial with a token came from it. Path validation is encrypted, so there the engine is believed (`validated`),
 * if anything was sent to that address that can have been a challenge; the answer may come from elsewhere (RFC 9000 §8.2.3).
 */
export class AmplificationChecker implements WorldObserver {
  readonly #server: Host
  readonly #balances = new Map<string, Balance>()
  readonly #header = new HeaderView()
  checked = 0

  constructor(server: Host) {
    this.#server = server
  }

  /** The engine says that it validated this address. */
  validated(address: string, port: number): void {
    const balance = this.#balance(address, port)
    if (balance.sent > 0) balance.isValidated = true
  }

  onReceived(host: Host, datagram: Datagram): void {
    if (host !== this.#server) return
    const balance = this.#balance(datagram.sourceAddress, datagram.sourcePort)
    balance.received += datagram.length
    if (!balance.isValidated && this.#provesAddress(datagram)) balance.isValidated = true
  }

  onSent(host: Host, datagram: Datagram, nowUs: Micros): void {
    if (host !== this.#server) return
    const balance = this.#balance(datagram.destinationAddress, datagram.destinationPort)
    balance.sent += datagram.length
    this.checked++
    if (balance.isValidated || balance.sent <= 3 * balance.received) return
    throw new SafetyError(
      `amplification at ${formatTime(nowUs)}: ${balance.sent} bytes sent to ${datagram.destinationAddress}:${datagram.destinationPort}, which sent only ${balance.received} and is not validated`,
    )
  }

  #provesAddress(datagram: Datagram): boolean {
    const header = this.#header
    for (let at = 0; at < datagram.length; at += header.packetLength) {
      if (header.parse(datagram.bytes, at, datagram.length, 0) !== HeaderStatus.Ok) return false
      if (header.version === Version.Negotiation || header.type === PacketType.OneRtt) return false
      if (header.type === PacketType.Handshake) return true
      if (header.type === PacketType.Initial && header.tokenLength > 0) return true
      if (header.packetLength <= 0) return false
    }
    return false
  }

  #balance(address: string, port: number): Balance {
    const key = `${address}|${port}`
    let balance = this.#balances.get(key)
    if (balance === undefined) {
      balance = { received: 0, sent: 0, isValidated: false }
      this.#balances.set(key, balance)
    }
    return balance
  }
}

/**
 * RFC 9000 §14.1: datagrams that carry an ack-eliciting Initial (all of a client's, at least) are 1200 bytes or more.
 * Only the client's are checked: what a server's Initial elicits cannot be seen from outside.
 */
export class InitialSizeChecker implements WorldObserver {
  readonly #server: Host
  readonly #header = new HeaderView()

  constructor(server: Host) {
    this.#server = server
  }

  onSent(host: Host, datagram: Datagram, nowUs: Micros): void {
    if (host === this.#server || datagram.length >= 1_200) return
    if (this.#header.parse(datagram.bytes, 0, datagram.length, 0) !== HeaderStatus.Ok) return
    if (this.#header.type !== PacketType.Initial || this.#header.version === Version.Negotiation) return
    throw new SafetyError(
      `at ${formatTime(nowUs)} ${host.name} sent a datagram of ${datagram.length} bytes with an Initial packet; 1200 is the least`,
    )
  }
}
