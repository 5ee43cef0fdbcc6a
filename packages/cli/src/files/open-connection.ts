/** The connection of `get`: the plan of its paths, the first of them, and the others beside the download. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Diagnostics, OpenPathOptions, Pem, QuicConnection } from '@quicether/net'
import { codeOf, messageOf, UserError } from '@quicether/router'
import type { TransportConfig } from '@quicether/transport'
import { authorities } from '../commands/client.ts'
import { findInterfaces, ownAddresses } from './interfaces.ts'
import { type PlannedPath, planPaths } from './path-plan.ts'

export interface ConnectionFlags {
  readonly interfaces?: readonly string[]
  readonly localAddresses?: readonly string[]
  readonly mip?: readonly string[]
  /** `auto` = besides those planned, all that interfaces and server have to offer. */
  readonly paths?: number | 'auto'
  readonly fakeMultipath?: boolean
  readonly ca?: string
  readonly insecure?: boolean
  readonly serverName?: string
  readonly timeout: number
}

/** The first path makes the connection, the others open beside the download. */
export type PathPlan = readonly [PlannedPath, ...PlannedPath[]]

/** So often a connection without traffic asks whether anybody is there: a client that only receives learns it no other way. */
const KEEP_ALIVE_US = 1_000_000

/** What helps, by the code of the failure. */
const remedies: Readonly<Record<string, string>> = {
  ERR_NOT_LISTENING: 'Start the server there, or check host and port of the URL.',
  ERR_HANDSHAKE_TIMEOUT: 'Check that a QUIC server listens there and that no firewall drops UDP.',
  ERR_TLS: 'Name the certificate or its authority with --ca, or skip the check with --insecure for a test.',
  ERR_TLS_REFUSED: 'The server refused the TLS handshake; check --server-name.',
  ERR_RESOLVE: 'Check the host name.',
  ERR_ADDRESS: 'Give addresses of this machine to --local-addresses, or names of its interfaces to --interfaces.',
}

/** Which ends talk to which. Throws `UserError` for ends that do not exist or cannot meet. */
export async function planOf(url: URL, flags: ConnectionFlags): Promise<PathPlan> {
  const { interfaces = [], localAddresses = [], mip = [], paths, fakeMultipath: isFake = false } = flags
  const found = findInterfaces(interfaces)
  const addresses = await resolve(url)
  const port = url.port === '' ? 443 : Number(url.port)
  const own = ownAddresses()
  return planPaths({
    addresses,
    port,
    interfaces: found,
    localAddresses,
    further: mip,
    paths: paths === 'auto' ? undefined : paths,
    isFake,
    own,
  })
}

/** Connects over the first path. Throws `UserError` (`ERR_CONNECT`) with the remedy. */
export async function openConnection(
  url: URL,
  flags: ConnectionFlags,
  [first]: PathPlan,
  config: Partial<TransportConfig>,
  { keyLog, tap, observe }: Diagnostics,
): Promise<QuicConnection> {
  const { localAddress, interfaceName, remoteAddress, remotePort } = first
  const { serverName, timeout: handshakeTimeoutMs } = flags
  const { connect } = await import('@quicether/net')
  const pem = authorities(flags)
  const trusted: { readonly ca: readonly Pem[] } | undefined =
    pem === undefined ? undefined : { ca: [{ pem, label: 'the trusted certificates' }] }
  try {
    return await connect({
      host: hostOf(url),
      port: remotePort,
      alpn: ['h3'],
      handshakeTimeoutMs,
      ...(trusted ?? { insecure: true }),
      ...(serverName === undefined ? {} : { serverName }),
      ...(localAddress === undefined ? {} : { localAddress, resolve: async () => [remoteAddress] }),
      ...(interfaceName === undefined ? {} : { interfaceName }),
      ...(keyLog === undefined ? {} : { keyLog }),
      ...(tap === undefined ? {} : { tap }),
      ...(observe === undefined ? {} : { observe }),
      config: { keepAliveUs: KEEP_ALIVE_US, ...config },
    })
  } catch (error) {
    const code = codeOf(error)
    if (error instanceof UserError || !code.startsWith('ERR_')) throw error
    throw connectProblem(messageOf(error).split('; ')[0] ?? '', url, code, error)
  }
}

/** Of a name with several addresses, the connection may have got another one than planned: further paths follow it. */
export function furtherPath({ remoteAddress, ...path }: PlannedPath, [first]: PathPlan): OpenPathOptions {
  const isFree = path.localAddress === undefined && remoteAddress === first.remoteAddress
  return isFree ? path : { ...path, remoteAddress }
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/gu, '')
}

async function resolve(url: URL): Promise<readonly string[]> {
  const host = hostOf(url)
  if (isIP(host) !== 0) return [host]
  try {
    return (await lookup(host, { all: true, order: 'verbatim' })).map(({ address }) => address)
  } catch (error) {
    throw connectProblem(`the host name does not resolve: ${messageOf(error)}`, url, 'ERR_RESOLVE', error)
  }
}

function connectProblem(what: string, url: URL, code: string, cause: unknown): UserError {
  return new UserError('ERR_CONNECT', {
    what: what.replace(/\.$/u, ''),
    where: url.host,
    remedy: remedies[code] ?? 'See --help for the options of the connection.',
    cause,
  })
}
