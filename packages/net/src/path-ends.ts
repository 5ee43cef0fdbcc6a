/** Both ends of a further path of a client, checked before a socket is opened. */
import { isIP } from 'node:net'
import { QuicError } from '@quicether/transport'
import type { OpenPathOptions } from './client-paths.ts'
import { type LocalAddress, listLocalAddresses } from './interface-watch.ts'
import { canonicalIp, isUnspecified } from './ip-address.ts'
import type { BindOptions } from './udp-port.ts'

/** Both ends of a new path. Throws QuicError for ends that cannot meet. */
export function pathEnds(
  options: OpenPathOptions,
  server: { readonly address: string; readonly remotePort: number },
  first: BindOptions,
  locals: readonly LocalAddress[] = listLocalAddresses(),
): { readonly local: BindOptions; readonly remoteAddress: string; readonly remotePort: number } {
  const { localAddress, localPort = 0, interfaceName, remotePort = server.remotePort } = options
  const remoteAddress = ipAddress(options.remoteAddress ?? server.address, 'remoteAddress')
  if (!Number.isInteger(remotePort) || remotePort < 1 || remotePort > 65_535) {
    throw new QuicError('ERR_PORT', `cannot open a path: port ${remotePort} is not a whole number from 1 to 65535`)
  }
  const isIpv6 = remoteAddress.includes(':')
  const local =
    localAddress === undefined
      ? interfaceAddress(interfaceName, isIpv6, remoteAddress, locals)
      : ipAddress(localAddress, 'localAddress')
  if (local.includes(':') !== isIpv6) {
    const message = `cannot open a path from ${local} to ${remoteAddress}: one is IPv4 and the other IPv6; give two of a kind`
    throw new QuicError('ERR_FAMILY', message)
  }
  const { shownAddress } = first
  const isShown = isUnspecified(local) && shownAddress !== undefined && shownAddress.includes(':') === isIpv6
  return {
    local: {
      address: local,
      port: localPort,
      ...(interfaceName === undefined ? {} : { interfaceName }),
      ...(isShown ? { shownAddress } : {}),
    },
    remoteAddress,
    remotePort,
  }
}

function ipAddress(text: string, what: string): string {
  if (isIP(text.replace(/%.*$/, '')) !== 0) return canonicalIp(text)
  throw new QuicError('ERR_ADDRESS', `cannot open a path: ${what} '${text}' is not an IPv4 or IPv6 address`)
}

/** The address to bind on an interface: one of the remote end's family and, within IPv6, of its scope. */
function interfaceAddress(
  name: string | undefined,
  isIpv6: boolean,
  remoteAddress: string,
  locals: readonly LocalAddress[],
): string {
  if (name === undefined) return isIpv6 ? '::' : '0.0.0.0'
  const infos = locals.filter((local) => local.interfaceName === name)
  if (infos.length === 0) {
    const message = `cannot open a path: no network interface called '${name}' has an address; see \`ip address\``
    throw new QuicError('ERR_INTERFACE', message)
  }
  const family = isIpv6 ? 'IPv6' : 'IPv4'
  const ofFamily = infos.filter((info) => info.address.includes(':') === isIpv6)
  const isLinkLocal = (address: string): boolean => /^fe[89ab]/i.test(address)
  const fitting = ofFamily.find((info) => isLinkLocal(info.address) === isLinkLocal(remoteAddress)) ?? ofFamily[0]
  if (fitting === undefined) {
    const message = `cannot open a path to ${remoteAddress}: interface '${name}' has no ${family} address; choose another one`
    throw new QuicError('ERR_INTERFACE', message)
  }
  return isLinkLocal(fitting.address) ? `${fitting.address}%${name}` : fitting.address
}
