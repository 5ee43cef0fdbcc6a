/** Network interfaces of this machine by the beginning of their names, and their addresses. */
import { readFileSync } from 'node:fs'
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
    const fitting = exact.length > 0 ? exact : beginningWith(name, found)
    if (name === '' || fitting.length === 0) {
      const known = found.flatMap((candidate) => (candidate.addresses.length > 0 ? [candidate.name] : [])).join(', ')
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

/** Those without an address count only where there are no others. */
function beginningWith(name: string, found: readonly Interface[]): readonly Interface[] {
  const all = found.filter((candidate) => candidate.name.startsWith(name))
  const addressed = all.filter((candidate) => candidate.addresses.length > 0)
  return addressed.length > 0 ? addressed : all
}

function machineInterfaces(): readonly Interface[] {
  const known = networkInterfaces()
  const names = new Set([...Object.keys(known), ...namesWithoutAddress()])
  return [...names].map((name) => ({
    name,
    addresses: (known[name] ?? []).map((info) => info.address).filter((address) => !/^fe[89ab]/iu.test(address)),
  }))
}

/** The platform's list has interfaces with addresses only; Linux keeps all names in a file. */
function namesWithoutAddress(): readonly string[] {
  try {
    return [...readFileSync('/proc/self/net/dev', 'utf8').matchAll(/^\s*([^\s:]+):/gmu)].map((match) => match[1] ?? '')
  } catch {
    return []
  }
}

function problem(name: string, what: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where: `--interfaces ${name}`, remedy })
}
