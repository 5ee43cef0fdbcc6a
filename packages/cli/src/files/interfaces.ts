/** Network interfaces of this machine by the beginning of their names, and their addresses. */
import { networkInterfaces } from 'node:os'
import { UserError } from '@quicether/router'

/** An interface with its usable addresses; link-local IPv6 is left out, since URLs cannot name a peer there. */
export interface Interface {
  readonly name: string
  readonly addresses: readonly string[]
}

/**
 * Interfaces whose names begin with the given ones, in the order given; `lo` finds `lo`, `wl` finds `wlan0`. A name that
 * is met exactly stands for that interface only. A name given again stands for the same interfaces again, as a mesh needs
 * it; otherwise none comes twice.
 * @throws UserError `ERR_OPTION` when a name fits none, or one without an address.
 */
export function findInterfaces(names: readonly string[], found = machineInterfaces()): readonly Interface[] {
  const chosen: Interface[] = []
  const before = new Map<string, readonly Interface[]>()
  for (const name of names) {
    const again = before.get(name)
    if (again !== undefined) {
      chosen.push(...again)
      continue
    }
    const exact = found.filter((candidate) => candidate.name === name)
    const fitting = exact.length > 0 ? exact : found.filter((candidate) => candidate.name.startsWith(name))
    if (name === '' || fitting.length === 0) {
      const known = found.map((candidate) => candidate.name).join(', ')
      throw problem(name, `no network interface begins with "${name}"`, `Those with an address: ${known}.`)
    }
    const fresh = fitting.filter((candidate) => !chosen.includes(candidate))
    before.set(name, fresh)
    chosen.push(...fresh)
  }
  const bare = chosen.find((candidate) => candidate.addresses.length === 0)
  if (bare !== undefined) {
    throw problem(bare.name, `network interface ${bare.name} has no usable address`, 'Give it one, or choose another.')
  }
  return chosen
}

/** Every address of this machine. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((infos = []) => infos.map(({ address }) => address))
}

function machineInterfaces(): readonly Interface[] {
  return Object.entries(networkInterfaces()).map(([name, infos = []]) => ({
    name,
    addresses: infos.map((info) => info.address).filter((address) => !/^fe[89ab]/iu.test(address)),
  }))
}

function problem(name: string, what: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where: `--interfaces ${name}`, remedy })
}
