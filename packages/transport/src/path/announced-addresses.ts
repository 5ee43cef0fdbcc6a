/** Client: further addresses of the server, as it announces and withdraws them (draft-piraux-quic-additional-addresses). */
import { FrameType, type ServerAddress, TransportError, visitAddresses } from '@quicether/wire'
import type { ConnectionCore } from '../core.ts'
import type { Micros } from '../ports/datagrams.ts'

/** New addresses looked at in one go, and how fast this credit returns: a server must not keep us busy with them. */
const NEWS_MAX = 64
const NEWS_EVERY_US = 1_000_000

export class AnnouncedAddresses {
  readonly #core: ConnectionCore
  #known: ServerAddress[] = []
  #sequence = -1
  #newsLeft = NEWS_MAX
  #creditedAtUs: Micros = 0

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  /** Announced and not withdrawn, in the server's order; at most `announcedAddressesMax`. */
  list(): readonly ServerAddress[] {
    return this.#known
  }

  /** ADDITIONAL_ADDRESSES: the list in `bytes[start, end)` replaces the one before. Throws on violations. */
  onFrame(sequence: number, bytes: Uint8Array, start: number, end: number, nowUs: Micros): void {
    const core = this.#core
    const type = FrameType.AdditionalAddresses
    // draft-piraux-quic-additional-addresses-03 §4: "This frame MUST NOT be sent by a client"
    if (core.isServer) throw new TransportError('PROTOCOL_VIOLATION', type, 'ADDITIONAL_ADDRESSES from a client')
    if (!core.localParameters.additionalAddresses) {
      throw new TransportError('FRAME_ENCODING_ERROR', type, 'ADDITIONAL_ADDRESSES without negotiation')
    }
    // §4: "SHOULD ignore frames with a Sequence Number lower or equal to the highest Sequence Number received"
    if (sequence <= this.#sequence) return
    this.#sequence = sequence
    const before = this.#known
    this.#known = this.#pick(bytes, start, end, nowUs)
    for (const old of before) if (!contains(this.#known, old)) this.#tell('addressWithdrawn', old, nowUs)
    for (const fresh of this.#known) if (!contains(before, fresh)) this.#tell('addressAnnounced', fresh, nowUs)
  }

  /** The usable ones, each once, as many as we keep. */
  // §5: "a client can choose to limit the number of addresses it keeps track of and the frequency at which it considers them"
  #pick(bytes: Uint8Array, start: number, end: number, nowUs: Micros): ServerAddress[] {
    const most = this.#core.config.announcedAddressesMax
    const refill = Math.floor((nowUs - this.#creditedAtUs) / NEWS_EVERY_US)
    this.#newsLeft = Math.min(NEWS_MAX, this.#newsLeft + refill)
    this.#creditedAtUs += refill * NEWS_EVERY_US
    const picked: ServerAddress[] = []
    visitAddresses(bytes, start, end, (address, port) => {
      const entry = { address, port }
      if (picked.length >= most || !isUnicast(address) || port === 0 || contains(picked, entry)) return
      if (!contains(this.#known, entry) && this.#newsLeft-- <= 0) {
        this.#newsLeft = 0
        return
      }
      picked.push(entry)
    })
    return picked
  }

  #tell(kind: 'addressAnnounced' | 'addressWithdrawn', { address, port }: ServerAddress, nowUs: Micros): void {
    this.#core.events.push({ kind, address, port })
    const change = kind === 'addressAnnounced' ? 'announced' : 'withdrawn'
    this.#core.observer?.event('server_address', { change, address, port }, nowUs)
  }
}

function contains(list: readonly ServerAddress[], { address, port }: ServerAddress): boolean {
  return list.some((entry) => entry.port === port && entry.address === address)
}

/** Whether one host can have it: neither all of them, nor a group, nor IPv4 in disguise. */
function isUnicast(address: string): boolean {
  if (address.includes(':')) return !/^(0:){7}0$|^(0:){5}ffff:|^ff[0-9a-f]{2}:/.test(address)
  const first = Number.parseInt(address, 10)
  return first > 0 && first < 224
}
