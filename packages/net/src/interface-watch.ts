/** Watches the network interfaces of this machine: addresses that come, go and change. */
import { networkInterfaces } from 'node:os'
import { type Clock, systemClock } from './clock.ts'
import { canonicalIp } from './ip-address.ts'

/** One address of an interface that is up. */
export interface LocalAddress {
  readonly interfaceName: string
  /** Without zone. */
  readonly address: string
  /** Of the loopback interface. */
  readonly isInternal: boolean
}

export type AddressChange =
  | { readonly kind: 'added' | 'removed'; readonly address: LocalAddress }
  /** The one address of a family on an interface has given way to another one: a new lease, a new network. */
  | { readonly kind: 'changed'; readonly from: LocalAddress; readonly to: LocalAddress }

export interface InterfaceWatchOptions {
  /** Called after a look that found differences, with all of them. */
  readonly onChange: (changes: readonly AddressChange[]) => void
  /** Time between two looks. 500 when absent. */
  readonly pollMs?: number
  readonly list?: () => readonly LocalAddress[]
  readonly clock?: Clock
}

const POLL_MS = 500

/** Addresses of all interfaces that are up and have a carrier. */
export function listLocalAddresses(): readonly LocalAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([interfaceName, infos = []]) =>
    infos.map(({ address, internal }) => ({ interfaceName, address: canonicalIp(address), isInternal: internal })),
  )
}

/**
 * Looks again every `pollMs` from `start` to `stop`: Node has no notifications of the kernel to offer. `poll` looks at
 * once, for those who have a reason to believe that something has changed.
 */
export class InterfaceWatch {
  readonly #onChange: (changes: readonly AddressChange[]) => void
  readonly #pollMs: number
  readonly #list: () => readonly LocalAddress[]
  readonly #clock: Clock
  #addresses: readonly LocalAddress[] = []
  #cancel: (() => void) | undefined

  constructor({ onChange, pollMs = POLL_MS, list = listLocalAddresses, clock = systemClock }: InterfaceWatchOptions) {
    this.#onChange = onChange
    this.#pollMs = pollMs
    this.#list = list
    this.#clock = clock
  }

  /** As of the last look. */
  get addresses(): readonly LocalAddress[] {
    return this.#addresses
  }

  /** What there is now counts as known: it is not reported as added. */
  start(): void {
    if (this.#cancel !== undefined) return
    this.#addresses = this.#look()
    this.#arm()
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  /** Looks now. */
  poll(): void {
    const before = this.#addresses
    this.#addresses = this.#look()
    const changes = differences(before, this.#addresses)
    if (changes.length > 0) this.#onChange(changes)
  }

  #arm(): void {
    this.#cancel = this.#clock.after(this.#pollMs, () => {
      this.#arm()
      this.poll()
    })
  }

  /** The system may refuse to tell, for want of file descriptors for example: then nothing has changed so far. */
  #look(): readonly LocalAddress[] {
    try {
      return this.#list()
    } catch {
      return this.#addresses
    }
  }
}

/** What has to happen to `before` to make it `after`. */
export function differences(before: readonly LocalAddress[], after: readonly LocalAddress[]): readonly AddressChange[] {
  const removed = before.filter((address) => !has(after, address))
  const added = after.filter((address) => !has(before, address))
  const changes: AddressChange[] = []
  for (const from of removed) {
    const alike = (other: LocalAddress): boolean =>
      other.interfaceName === from.interfaceName && other.address.includes(':') === from.address.includes(':')
    const to = added.find(alike)
    const isSwap = to !== undefined && before.filter(alike).length === 1 && after.filter(alike).length === 1
    if (!isSwap) changes.push({ kind: 'removed', address: from })
    else {
      changes.push({ kind: 'changed', from, to })
      added.splice(added.indexOf(to), 1)
    }
  }
  for (const address of added) changes.push({ kind: 'added', address })
  return changes
}

function has(list: readonly LocalAddress[], { interfaceName, address }: LocalAddress): boolean {
  return list.some((entry) => entry.interfaceName === interfaceName && entry.address === address)
}
