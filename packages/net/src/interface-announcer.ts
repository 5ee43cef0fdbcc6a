/** Server: announces the addresses of this machine as interfaces come and go. */
import type { Clock } from './clock.ts'
import { InterfaceWatch, type LocalAddress } from './interface-watch.ts'
import { scopeOf } from './ip-address.ts'

/** What it acts on: a `QuicListener`. */
export interface AnnouncerHost {
  announceAddress(address: string): boolean
  withdrawAddress(address: string): boolean
}

export interface AnnouncerOptions {
  /** Families that are received on all addresses; others are not announced. */
  readonly hasIpv4: boolean
  readonly hasIpv6: boolean
  readonly list?: () => readonly LocalAddress[]
  readonly clock?: Clock
}

export class InterfaceAnnouncer {
  readonly #host: AnnouncerHost
  readonly #options: AnnouncerOptions
  readonly #watch: InterfaceWatch
  readonly #announced: Set<string> = new Set()

  /** Begins at once. */
  constructor(host: AnnouncerHost, options: AnnouncerOptions) {
    this.#host = host
    this.#options = options
    const { list, clock } = options
    this.#watch = new InterfaceWatch({
      onChange: () => this.#update(),
      ...(list === undefined ? {} : { list }),
      ...(clock === undefined ? {} : { clock }),
    })
    this.#watch.start()
    this.#update()
  }

  stop(): void {
    this.#watch.stop()
  }

  #update(): void {
    const { hasIpv4, hasIpv6 } = this.#options
    const present = new Set<string>()
    for (const { address, isInternal } of this.#watch.addresses) {
      const isReceived = address.includes(':') ? hasIpv6 : hasIpv4
      if (isReceived && !isInternal && scopeOf(address) === 'wide') present.add(address)
    }
    for (const address of this.#announced) {
      if (present.has(address)) continue
      this.#announced.delete(address)
      this.#host.withdrawAddress(address)
    }
    for (const address of present) if (!this.#announced.has(address)) this.#add(address)
  }

  /** One more than may be announced waits until another one goes. */
  #add(address: string): void {
    try {
      this.#host.announceAddress(address)
      this.#announced.add(address)
    } catch {
      // ERR_ADDRESS_LIMIT: tried again after the next change.
    }
  }
}
