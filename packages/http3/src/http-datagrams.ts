/** HTTP Datagrams of one connection (RFC 9297 §2.1): which request they belong to, and those that come before it. */
import type { StreamId, StreamTransport } from '@quicether/transport'
import { Reader, varintLength, writeVarint } from '@quicether/wire'
import { H3ConnectionError } from './errors.ts'

/** Datagrams kept for requests that have not been opened yet, or whose owner does not listen yet; the oldest go first. */
const EARLY_MAX = 32
export const HELD_DATAGRAMS_MAX = 64

/** The side of an exchange that takes datagrams. */
export interface DatagramOwner {
  readonly id: StreamId
  handleDatagram(payload: Uint8Array): void
}

export interface HttpDatagramsOptions {
  readonly transport: StreamTransport
  readonly role: 'client' | 'server'
  /** We announced SETTINGS_H3_DATAGRAM. */
  readonly isAnnounced: boolean
  readonly find: (id: StreamId) => DatagramOwner | undefined
  /** Server: true for requests that may still come. */
  readonly mayOpen: (id: StreamId) => boolean
}

const idReader = new Reader(new Uint8Array(8))

export class HttpDatagrams {
  readonly #options: HttpDatagramsOptions
  readonly #early: { readonly id: StreamId; readonly payload: Uint8Array }[]
  /** The peer announced SETTINGS_H3_DATAGRAM. */
  isAllowedByPeer: boolean

  constructor(options: HttpDatagramsOptions) {
    this.#options = options
    this.#early = []
    this.isAllowedByPeer = false
  }

  /** Largest payload for a request; 0 = datagrams are not negotiated. */
  payloadBytesMax(id: StreamId): number {
    if (!this.isAllowedByPeer || !this.#options.isAnnounced) return 0
    return Math.max(0, this.#options.transport.datagramBytesMax - varintLength(id / 4))
  }

  // RFC 9297 §2.1.1: "QUIC DATAGRAM frames MUST NOT be sent until the SETTINGS_H3_DATAGRAM setting has been both sent and received with a value of 1."
  /** False = not negotiated, or too large. */
  send(id: StreamId, payload: Uint8Array): boolean {
    if (!this.isAllowedByPeer || !this.#options.isAnnounced) return false
    if (payload.length > this.payloadBytesMax(id)) return false
    const data = new Uint8Array(varintLength(id / 4) + payload.length)
    data.set(payload, writeVarint(data, 0, id / 4))
    return this.#options.transport.sendDatagram(data)
  }

  /** A QUIC DATAGRAM has arrived. Throws H3ConnectionError(H3_DATAGRAM_ERROR). */
  handle(data: Uint8Array): void {
    if (!this.#options.isAnnounced) return
    const idBytes = data.length === 0 ? 1 : 1 << ((data[0] as number) >>> 6)
    // RFC 9297 §2.1: "Receipt of a QUIC DATAGRAM frame whose payload is too short to allow parsing the Quarter Stream ID field MUST be treated as an HTTP/3 connection error of type H3_DATAGRAM_ERROR"
    if (data.length < idBytes) throw new H3ConnectionError('H3_DATAGRAM_ERROR', 'datagram ends inside its stream ID')
    // RFC 9297 §2.1: "the largest legal value of Quarter Stream ID is 2^60-1. Receipt of an HTTP/3 Datagram that includes a larger value MUST be treated as an HTTP/3 connection error of type H3_DATAGRAM_ERROR"
    if (idBytes === 8 && (data[0] as number) >= 0xd0) {
      throw new H3ConnectionError('H3_DATAGRAM_ERROR', 'datagram names a stream above 2^62')
    }
    idReader.rewind(data, 0, idBytes)
    const id = idReader.varintClamped() * 4
    const payload = data.subarray(idBytes)
    const owner = this.#options.find(id)
    if (owner !== undefined) owner.handleDatagram(payload)
    else if (this.#options.role === 'server' && this.#options.mayOpen(id)) this.#keep(id, payload)
  }

  /** The request has arrived: it gets what was there before it. */
  onOpened(owner: DatagramOwner): void {
    for (let i = 0; i < this.#early.length; ) {
      const entry = this.#early[i]
      if (entry?.id !== owner.id) {
        i++
        continue
      }
      this.#early.splice(i, 1)
      owner.handleDatagram(entry.payload)
    }
  }

  /** RFC 9297 §2.1: for a stream that does not exist yet, "buffer it temporarily". */
  #keep(id: StreamId, payload: Uint8Array): void {
    if (this.#early.length >= EARLY_MAX) this.#early.shift()
    this.#early.push({ id, payload })
  }
}
