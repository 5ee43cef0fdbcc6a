/** `get --paths auto`: a path to each further address that the server announces, as they come and go. */
import { isIPv6 } from 'node:net'
import type { OpenPathOptions, QuicConnection } from '@quicether/net'
import type { PlannedPath } from './path-plan.ts'

/** Opens one path and tells of it when that fails. */
export type OpenPath = (options: OpenPathOptions) => Promise<void>

/**
 * Opens a path to each announced address that none leads to yet, from the planned local ends in turn, and closes those
 * whose address is withdrawn while others are left. Returns what ends it.
 */
export function followAnnounced(connection: QuicConnection, plan: readonly PlannedPath[], open: OpenPath): () => void {
  const seen = new Set(plan.map(({ remoteAddress, remotePort }) => `${remoteAddress} ${remotePort}`))
  const { remoteAddress, remotePort } = connection.tuple
  seen.add(`${remoteAddress} ${remotePort}`)
  let next = 1
  const add = (address: string, port: number): void => {
    const key = `${address} ${port}`
    const ends = plan.filter((path) => isIPv6(path.localAddress ?? address) === isIPv6(address))
    const end = ends[next % Math.max(1, ends.length)]
    if (seen.has(key) || end === undefined) return
    seen.add(key)
    next++
    const { localAddress, interfaceName } = end
    void open({
      remoteAddress: address,
      remotePort: port,
      ...(localAddress === undefined ? {} : { localAddress }),
      ...(interfaceName === undefined ? {} : { interfaceName }),
    })
  }
  const drop = (address: string, port: number): void => {
    seen.delete(`${address} ${port}`)
    const open = connection.paths().filter(({ state }) => state !== 'abandoned')
    const gone = open.filter((path) => path.remoteAddress === address && path.remotePort === port)
    // Without another path the connection stays where it is for as long as that works.
    if (gone.length < open.length) for (const { id } of gone) connection.closePath(id)
  }
  connection.onAddress = (change, address, port) => (change === 'announced' ? add : drop)(address, port)
  for (const { address, port } of connection.announcedAddresses()) add(address, port)
  return () => {
    connection.onAddress = null
  }
}
