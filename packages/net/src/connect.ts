/** Clients: resolving names, racing addresses, one connection. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { type Identity, type KeyLog, localAddressFor, type Pem, type Trust } from '@quicether/native'
import { QuicError, type TransportConfig } from '@quicether/transport'
import { type AttemptOptions, startAttempt } from './attempt.ts'
import type { DatagramTap } from './capture/tap.ts'
import { ClientContext } from './client-context.ts'
import type { QuicConnection } from './connection.ts'
import { listLocalAddresses } from './interface-watch.ts'
import { canonicalIp, formatAddress, scopeOf } from './ip-address.ts'
import { candidatesOf, isChosen } from './path-candidates.ts'
import { type PathPolicyOptions, resolvePathPolicy } from './path-policy-options.ts'

export interface ConnectOptions {
  /** Name or IP address, IPv6 zones allowed. */
  readonly host: string
  readonly port: number
  readonly alpn: readonly string[]
  /** Name to ask for and to check; `host` when absent. */
  readonly serverName?: string
  /** Shares trust, sessions and tokens with other connections. Replaces the five options that follow. */
  readonly context?: ClientContext
  /** Authorities that may sign the server's certificate, or the certificate itself. */
  readonly ca?: readonly Pem[]
  /** SHA-256 hashes of the server's certificate or public key, hex or base64. */
  readonly pinned?: readonly string[]
  /** The server's raw public keys (RFC 7250), SPKI in DER. */
  readonly rawKeys?: readonly Uint8Array[]
  /** Skip verification. For tests. */
  readonly insecure?: boolean
  readonly identity?: Identity
  /** Local address to bind; the kernel chooses when absent. */
  readonly localAddress?: string
  readonly localPort?: number
  readonly interfaceName?: string
  /** Offer 0-RTT if `context` remembers a session; `connect` then settles as soon as streams can be written. */
  readonly earlyData?: boolean
  /** Move to the address that the server prefers (RFC 9000 §9.6) once that is validated. True when absent. */
  readonly followPreferredAddress?: boolean
  readonly version?: number
  /** Give up on the handshake after this long. 10,000 when absent. */
  readonly handshakeTimeoutMs?: number
  readonly idleTimeoutMs?: number
  /**
   * Use all interfaces, or those named, as they come and go, and the addresses that the server announces. `config.maxPaths`
   * is 8 then, when absent. See `QuicConnection.managePaths`.
   */
  readonly paths?: PathPolicyOptions
  readonly config?: Partial<TransportConfig>
  readonly keyLog?: KeyLog
  readonly tap?: DatagramTap
  readonly observe?: AttemptOptions['observe']
  /** Finds the addresses of `host`, best first; the system's resolver when absent. */
  readonly resolve?: (host: string) => Promise<readonly string[]>
  /** Aborting before the connection is established rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

// RFC 8305 §8: Connection Attempt Delay, recommended 250 ms
const ATTEMPT_DELAY_MS = 250
const ADDRESSES_MAX = 8
/** Pairs of an interface and an address that are tried. */
const WAYS_MAX = 16
/** `config.maxPaths` of connections whose paths are managed. */
const MANAGED_PATHS = 8

/**
 * Connects. A name with several addresses is tried in the order of the resolver, each address a little after the one
 * before, and the first that answers wins.
 * @throws QuicError `ERR_RESOLVE`, `ERR_NOT_LISTENING`, `ERR_HANDSHAKE_TIMEOUT`, `ERR_TLS`, `ERR_TLS_REFUSED`, `ERR_CONNECTION_REFUSED`,
 * `ERR_VERSION`, `ERR_CA`, `ERR_CONFIG`, …
 */
export async function connect(options: ConnectOptions): Promise<QuicConnection> {
  options.signal?.throwIfAborted()
  checkOptions(options)
  const addresses = await resolve(options)
  options.signal?.throwIfAborted()
  const context = options.context ?? createContext(options)
  const onEnd = options.context === undefined ? () => context.close() : () => {}
  try {
    return await race(options, context, waysTo(options, addresses), onEnd)
  } catch (error) {
    onEnd()
    throw error
  }
}

async function race(
  options: ConnectOptions,
  context: ClientContext,
  ways: readonly Way[],
  onEnd: () => void,
): Promise<QuicConnection> {
  const abort = new AbortController()
  const signals = options.signal === undefined ? [abort.signal] : [abort.signal, options.signal]
  const signal = AbortSignal.any(signals)
  const failures: Error[] = []
  const { promise, resolve, reject } = Promise.withResolvers<QuicConnection>()
  const onAbort = () => reject(options.signal?.reason)
  options.signal?.addEventListener('abort', onAbort, { once: true })
  let timer: NodeJS.Timeout | undefined
  let next = 0
  let winner: QuicConnection | undefined
  const tryNext = () => {
    clearTimeout(timer)
    const way = ways[next++]
    if (way === undefined) return
    if (next < ways.length) timer = setTimeout(tryNext, ATTEMPT_DELAY_MS)
    startAttempt(attemptOptions(options, context, way, signal)).then(
      (connection) => {
        if (winner !== undefined) return void connection.close()
        winner = connection
        resolve(connection)
      },
      (error: Error) => {
        failures.push(error)
        if (failures.length === ways.length) reject(combine(options, ways, failures))
        else if (winner === undefined && !signal.aborted) tryNext()
      },
    )
  }
  tryNext()
  try {
    const connection = await promise
    void connection.closed.then(onEnd)
    if (options.paths !== undefined) connection.managePaths(options.paths)
    return connection
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', onAbort)
    abort.abort()
  }
}

function attemptOptions(
  options: ConnectOptions,
  context: ClientContext,
  { address, localAddress, interfaceName }: Way,
  signal: AbortSignal,
): AttemptOptions {
  const { host, port, alpn, localPort = 0, earlyData = false, version, keyLog, tap, observe } = options
  const isIpv6 = address.includes(':')
  const { handshakeTimeoutMs, idleTimeoutMs } = options
  return {
    target: host === address ? formatAddress(address, port) : `${host} (${formatAddress(address, port)})`,
    context,
    address,
    port,
    // RFC 9114 §3.2#1, §3.2#2: "clients MUST send the Server Name Indication (SNI; RFC6066) TLS extension"
    serverName: options.serverName ?? host.replace(/%.*$/, ''),
    alpn,
    local: {
      address: localAddress ?? (isIpv6 ? '::' : '0.0.0.0'),
      port: localPort,
      ...(interfaceName === undefined ? {} : { interfaceName }),
      ...withShownAddress(localAddress, address, port),
    },
    earlyData,
    followPreferredAddress: options.followPreferredAddress ?? true,
    signal,
    keyLogs: [keyLog, tap === undefined ? undefined : (line: string) => tap.keylogLine(line)].filter(
      (log) => log !== undefined,
    ),
    config: {
      ...(options.paths === undefined ? {} : { maxPaths: MANAGED_PATHS }),
      ...options.config,
      ...(handshakeTimeoutMs === undefined ? {} : { handshakeTimeoutUs: handshakeTimeoutMs * 1000 }),
      ...(idleTimeoutMs === undefined ? {} : { idleTimeoutUs: idleTimeoutMs * 1000 }),
    },
    ...(version === undefined ? {} : { version }),
    ...(tap === undefined ? {} : { tap }),
    ...(observe === undefined ? {} : { observe }),
  }
}

/** From where to where an attempt goes; what is absent is left to the kernel. */
interface Way {
  readonly address: string
  readonly localAddress?: string | undefined
  readonly interfaceName?: string | undefined
  /** One of several interfaces that the caller has named. */
  readonly isChosen: boolean
}

/** All interfaces that were named, for each address of the server: the first way that answers wins. */
function waysTo(
  { host, port, localAddress, interfaceName, paths }: ConnectOptions,
  addresses: readonly string[],
): Way[] {
  const names = paths?.interfaces ?? 'auto'
  if (names === 'auto' || localAddress !== undefined || interfaceName !== undefined) {
    return addresses.map((address) => ({ address, localAddress, interfaceName, isChosen: false }))
  }
  const all = listLocalAddresses()
  const chosen = all.filter((local) => isChosen(local, names))
  const pairs = addresses.flatMap((address) => candidatesOf(chosen, [{ address, port }], () => false))
  if (pairs.length === 0) {
    const known = [...new Set(all.map((local) => local.interfaceName))].join(', ')
    const message = `cannot connect to ${host} over ${names.join(', ')}: no such interface has an address that reaches ${addresses.join(', ')}; those with an address: ${known}`
    throw new QuicError('ERR_INTERFACE', message)
  }
  return pairs.slice(0, WAYS_MAX).map((pair) => {
    const isLoopback = scopeOf(pair.localAddress) === 'loopback'
    const zone = scopeOf(pair.localAddress) === 'link' ? `%${pair.interfaceName}` : ''
    return {
      address: pair.remoteAddress,
      localAddress: `${pair.localAddress}${zone}`,
      interfaceName: isLoopback ? undefined : pair.interfaceName,
      isChosen: true,
    }
  })
}

/** The kernel chooses our address; statistics and captures show which one it will be. */
function withShownAddress(own: string | undefined, address: string, port: number): { shownAddress?: string } {
  if (own !== undefined) return {}
  const shown = localAddressFor(address, port)
  return shown === undefined ? {} : { shownAddress: canonicalIp(shown) }
}

function createContext(options: ConnectOptions): ClientContext {
  const { identity } = options
  return new ClientContext({ trust: trustOf(options), ...(identity === undefined ? {} : { identity }), sessionsMax: 0 })
}

// RFC 9114 §3.1: "the client MUST verify that the certificate is an acceptable match for the URI's origin server": whoever
// wants no verification has to say so
function trustOf({ ca, pinned, rawKeys, insecure = false, host }: ConnectOptions): Trust {
  const chosen: Trust[] = []
  if (ca !== undefined) chosen.push({ kind: 'ca', ca })
  if (pinned !== undefined) chosen.push({ kind: 'pinned', sha256: pinned })
  if (rawKeys !== undefined) chosen.push({ kind: 'rawKeys', keys: rawKeys })
  if (insecure) chosen.push({ kind: 'insecure' })
  const [trust, second] = chosen
  if (trust === undefined || second !== undefined) {
    const message = `how to verify ${host}: give exactly one of ca, pinned, rawKeys and insecure, not ${chosen.length}`
    throw new QuicError('ERR_TRUST', message)
  }
  return trust
}

function checkOptions({ host, port, alpn, paths }: ConnectOptions): void {
  if (paths !== undefined) resolvePathPolicy(paths)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new QuicError('ERR_PORT', `cannot connect to ${host}: port ${port} is not a whole number from 1 to 65535`)
  }
  if (alpn.length === 0) {
    throw new QuicError(
      'ERR_ALPN',
      `cannot connect to ${host}: QUIC needs an application protocol; set alpn, e.g. ["h3"]`,
    )
  }
}

async function resolve({ host, resolve: find = resolveBySystem }: ConnectOptions): Promise<readonly string[]> {
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  if (isIP(bare.replace(/%.*$/, '')) !== 0) return [canonicalIp(bare)]
  try {
    const found = await find(bare)
    if (found.length === 0) throw new Error('no address found')
    return found.slice(0, ADDRESSES_MAX).map(canonicalIp)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new QuicError('ERR_RESOLVE', `cannot find an address of ${host}: ${reason}; check the name and the network`, {
      cause,
    })
  }
}

async function resolveBySystem(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true, order: 'verbatim' })
  return found.map(({ address }) => address)
}

function combine(options: ConnectOptions, ways: readonly Way[], failures: readonly Error[]): Error {
  const [first] = failures
  // Other addresses often only timed out: the most telling failure speaks for all.
  const telling =
    failures.find((error) => !(error instanceof QuicError && error.code === 'ERR_HANDSHAKE_TIMEOUT')) ?? first
  if (telling === undefined) return new QuicError('ERR_RESOLVE', `${options.host} has no address; check the name`)
  if (ways.length === 1 || !(telling instanceof QuicError)) return telling
  const message = `${telling.message} (${ways.length} ${ways[0]?.isChosen ? 'ways' : 'addresses'} tried)`
  return new QuicError(telling.code, message, { cause: telling.cause ?? telling })
}
