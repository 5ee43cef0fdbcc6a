/** Which pairs of a local and a server address are worth a path, best first. */
import type { LocalAddress } from './interface-watch.ts'
import { formatAddress, scopeOf } from './ip-address.ts'

/** An address of the server. */
export interface ServerEnd {
  readonly address: string
  readonly port: number
}

/** A path that could be opened. */
export interface Candidate {
  readonly key: string
  readonly interfaceName: string
  readonly localAddress: string
  readonly remoteAddress: string
  readonly remotePort: number
  /** Position of the server's address: 0 = the one connected to. */
  readonly rank: number
}

/** Whether an interface is meant by one of `names`, each a name or the beginning of one; all but loopback by `auto`. */
export function isChosen({ interfaceName, isInternal }: LocalAddress, names: 'auto' | readonly string[]): boolean {
  if (names === 'auto') return !isInternal
  return names.some((name) => name !== '' && interfaceName.startsWith(name))
}

/**
 * One candidate for each interface and each server address that it can reach: same family, same scope. First all
 * interfaces with the server's first address, then with the next one. Where an interface has several addresses, one for
 * which `isOpen` holds goes before the others, so that their order does not matter to paths that exist.
 */
export function candidatesOf(
  locals: readonly LocalAddress[],
  servers: readonly ServerEnd[],
  isOpen: (key: string) => boolean,
): readonly Candidate[] {
  const names = [...new Set(locals.map(({ interfaceName }) => interfaceName))]
  const found: Candidate[] = []
  servers.forEach((server, rank) => {
    for (const interfaceName of names) {
      const fitting = locals
        .filter((local) => local.interfaceName === interfaceName && canReach(local.address, server.address))
        .map((local) => candidate(local, server, rank))
      const best = fitting.find(({ key }) => isOpen(key)) ?? fitting[0]
      if (best !== undefined) found.push(best)
    }
  })
  return found
}

function candidate({ interfaceName, address: localAddress }: LocalAddress, { address, port }: ServerEnd, rank: number) {
  const key = `${interfaceName} ${localAddress} ${formatAddress(address, port)}`
  return { key, interfaceName, localAddress, remoteAddress: address, remotePort: port, rank }
}

function canReach(local: string, remote: string): boolean {
  return local.includes(':') === remote.includes(':') && scopeOf(local) === scopeOf(remote)
}
