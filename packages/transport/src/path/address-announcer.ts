/** Server: tells the client of further addresses, until it is acknowledged (draft-piraux-quic-additional-addresses). */
import { encodeAdditionalAddresses, parseIpv6, type ServerAddress } from '@quicether/wire'
import type { ConnectionCore } from '../core.ts'
import { QuicError } from '../errors.ts'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'

/** Addresses in one announcement: all of them must fit into one frame of any packet. */
export const ANNOUNCED_ADDRESSES_MAX = 16

export class AddressAnnouncer {
  readonly #core: ConnectionCore
  #addresses: readonly ServerAddress[] = []
  /** Of the announcement that was written last. */
  #sequence = -1
  #isChanged = false
  #isPending = false

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  /** What the client is told, whether it listens or not. */
  list(): readonly ServerAddress[] {
    return this.#addresses
  }

  /** Adds an address; false when it is there already. Throws ERR_ADDRESS, ERR_PORT, ERR_ADDRESS_LIMIT, ERR_NOT_SERVER. */
  announce(address: string, port: number): boolean {
    this.#checkServer()
    checkAddress(address, port)
    if (this.#has(address, port)) return false
    if (this.#addresses.length >= ANNOUNCED_ADDRESSES_MAX) {
      const message = `cannot announce ${address}: ${ANNOUNCED_ADDRESSES_MAX} addresses are announced; withdraw one first`
      throw new QuicError('ERR_ADDRESS_LIMIT', message)
    }
    this.#set([...this.#addresses, { address, port }])
    return true
  }

  /** Takes an address back; false when it was not announced. */
  withdraw(address: string, port: number): boolean {
    this.#checkServer()
    if (!this.#has(address, port)) return false
    this.#set(this.#addresses.filter((entry) => entry.address !== address || entry.port !== port))
    return true
  }

  #has(address: string, port: number): boolean {
    return this.#addresses.some((entry) => entry.address === address && entry.port === port)
  }

  #checkServer(): void {
    if (this.#core.isServer) return
    throw new QuicError('ERR_NOT_SERVER', 'only a server announces addresses; a client opens paths from its own')
  }

  #set(addresses: readonly ServerAddress[]): void {
    this.#addresses = addresses
    this.#isChanged = true
    this.#isPending = true
  }

  /** Whether a frame waits; never for a client that does not understand it. */
  hasPending(): boolean {
    const core = this.#core
    return this.#isPending && core.handshakeConfirmed && core.peerParameters?.additionalAddresses === true
  }

  write(packet: PacketWriter): void {
    if (!this.hasPending()) return
    const frame = encodeAdditionalAddresses(this.#sequence + (this.#isChanged ? 1 : 0), this.#addresses)
    if (packet.room < frame.length) return
    if (this.#isChanged) this.#sequence++
    this.#isChanged = false
    this.#isPending = false
    packet.copy(frame)
    packet.receipt(ReceiptKind.AdditionalAddresses, this.#sequence)
  }

  // draft-piraux-quic-additional-addresses-03 §4: "When a packet containing an ADDITIONAL_ADDRESSES frame is lost and its content is still relevant, the sender MAY retransmit the frame as is."
  onLost(sequence: number): void {
    if (sequence === this.#sequence && !this.#isChanged) this.#isPending = true
  }
}

function checkAddress(address: string, port: number): void {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new QuicError('ERR_PORT', `cannot announce ${address}: port ${port} is not a whole number from 1 to 65535`)
  }
  if (!isIpv4(address) && !isIpv6(address)) {
    const message = `cannot announce '${address}': not an IPv4 or IPv6 address without zone`
    throw new QuicError('ERR_ADDRESS', message)
  }
}

function isIpv4(text: string): boolean {
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split('.').every((part) => Number(part) <= 255)
}

function isIpv6(text: string): boolean {
  if (!/^[0-9a-f:]+$/i.test(text) || text.split('::').length > 2) return false
  try {
    return parseIpv6(text).length === 16
  } catch {
    return false
  }
}
