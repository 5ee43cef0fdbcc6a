/** Which local end talks to which address of the server: the mapping of interfaces to addresses. */
import { isIP } from 'node:net'
import { UserError } from '@quicether/router'
import { parseAddress } from './address-text.ts'
import type { Interface } from './interfaces.ts'

/** A path to open; what is absent is left to the kernel. */
export interface PlannedPath {
  readonly localAddress?: string
  readonly interfaceName?: string
  readonly remoteAddress: string
  readonly remotePort: number
}

export interface PlanOptions {
  /** Addresses of the URL's host, best first. */
  readonly addresses: readonly string[]
  readonly port: number
  readonly interfaces: readonly Interface[]
  readonly localAddresses: readonly string[]
  /** Further addresses of the server, `address` or `address:port`. */
  readonly further: readonly string[]
  /** Addresses of this machine: what goes to them never leaves through an interface, so none is bound to. */
  readonly own?: readonly string[]
  /** The one local end stands for two, to try several paths with one interface. */
  readonly isFake?: boolean
  /** How many paths in all; absent: one for each local end, at least one for each address of the server. */
  readonly paths?: number | undefined
}

interface LocalEnd {
  readonly label: string
  /** Undefined = the kernel's choice. */
  readonly addresses: readonly string[] | undefined
  readonly interfaceName?: string
}

interface RemoteEnd {
  readonly addresses: readonly string[]
  readonly port: number
}

const anywhere: LocalEnd = { label: 'this machine', addresses: undefined }

/** Most paths of one connection. */
export const PATHS_MAX = 32

/**
 * Local end 0 talks to the URL's address, local end n + 1 to the n-th further address; without further addresses all talk
 * to the URL's. Paths beyond the local ends use them in turn.
 * @throws UserError `ERR_OPTION` for lists that do not fit and ends that cannot meet.
 */
export function planPaths(options: PlanOptions): readonly [PlannedPath, ...PlannedPath[]] {
  const locals = localEnds(options)
  const remotes = [
    { addresses: options.addresses, port: options.port },
    ...options.further.map(furtherEnd(options.port)),
  ]
  checkCounts(options, locals.length, remotes.length)
  const count = options.paths ?? Math.max(locals.length, remotes.length)
  const plan: PlannedPath[] = []
  for (let index = 0; index < count; index++) {
    const local = locals[index % locals.length] as LocalEnd
    const remote = remotes[remotes.length === 1 ? 0 : index % remotes.length] as RemoteEnd
    plan.push(join(local, remote, options.own ?? []))
  }
  const [first, ...rest] = plan
  if (first === undefined) throw new Error('invariant violated: a plan has at least one path')
  return [first, ...rest]
}

function localEnds({ interfaces, localAddresses, isFake = false }: PlanOptions): readonly LocalEnd[] {
  if (interfaces.length > 0 && localAddresses.length > 0) {
    throw problem(
      'both interfaces and local addresses are given',
      '--interfaces and --local-addresses',
      'Give one of them.',
    )
  }
  for (const address of localAddresses) {
    if (isIP(address) === 0)
      throw problem(`"${address}" is not an IP address`, '--local-addresses', 'Expected e.g. 127.0.0.1,127.0.0.2.')
  }
  const named = interfaces.map(({ name, addresses }) => ({ label: name, addresses, interfaceName: name }))
  const ends = [...named, ...localAddresses.map((address) => ({ label: address, addresses: [address] }))]
  if (!isFake) return ends.length > 0 ? ends : [anywhere]
  const [only = anywhere, second] = ends
  if (second !== undefined)
    throw problem(`there are ${ends.length} local ends, which need no second one`, '--fake-multipath', 'Leave it out.')
  return [only, only]
}

function furtherEnd(defaultPort: number): (text: string) => RemoteEnd {
  return (text) => {
    const parsed = parseAddress(text)
    if (parsed === undefined) {
      throw problem(
        `"${text}" is not an address of a server`,
        '--mip',
        'Expected e.g. 192.0.2.7:4433 or [2001:db8::7]:4433.',
      )
    }
    return { addresses: [parsed.address], port: parsed.port ?? defaultPort }
  }
}

function checkCounts(options: PlanOptions, locals: number, remotes: number): void {
  const { paths, interfaces, localAddresses } = options
  const hasLocals = interfaces.length + localAddresses.length > 0 || options.isFake === true
  if (hasLocals && remotes > 1 && remotes !== locals) {
    throw problem(
      `there are ${locals} local ends and ${remotes - 1} further addresses of the server`,
      '--mip',
      `Give one further address for each local end after the first: ${locals - 1}, or none.`,
    )
  }
  const least = Math.max(locals, remotes)
  if (paths !== undefined && paths < least) {
    throw problem(`${paths} paths cannot use ${least} ends`, '--paths', 'Give a larger number, or leave it out.')
  }
  if (least > PATHS_MAX) throw problem(`${least} paths are too many`, '--interfaces', `At most ${PATHS_MAX} work.`)
}

/** The first pair of addresses of one family. */
function join(local: LocalEnd, remote: RemoteEnd, own: readonly string[]): PlannedPath {
  for (const remoteAddress of remote.addresses) {
    if (local.addresses === undefined) return { remoteAddress, remotePort: remote.port }
    const isIpv6 = remoteAddress.includes(':')
    const localAddress = local.addresses.find((address) => address.includes(':') === isIpv6)
    if (localAddress === undefined) continue
    const isHere = own.includes(remoteAddress) || /^(?:127\.|::1$)/u.test(remoteAddress)
    const name = local.interfaceName === undefined || isHere ? {} : { interfaceName: local.interfaceName }
    return { ...name, localAddress, remoteAddress, remotePort: remote.port }
  }
  throw problem(
    `${local.label} and ${remote.addresses.join(', ')} have no IP version in common`,
    'the path between them',
    'Give two IPv4 or two IPv6 addresses.',
  )
}

function problem(what: string, where: string, remedy: string): UserError {
  return new UserError('ERR_OPTION', { what, where, remedy })
}
