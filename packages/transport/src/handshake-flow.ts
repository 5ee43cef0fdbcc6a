/** Connection set-up beyond TLS: Initial keys, Retry, version negotiation, 0-RTT, the peer's transport parameters. */
import {
  TransportError,
  type TransportParameters,
  Version,
  decodeTransportParameters,
  encodeTransportParameters,
  retryPseudoPacket,
} from '@quicether/wire'
import { equalBytes } from './bytes.ts'
import { type ConnectionCore, EMPTY } from './core.ts'
import { DeferredTls } from './deferred-tls.ts'
import { Handshake } from './handshake.ts'
import { type PreferredEndpoint, authenticatePeer, checkEarlyDataLimits } from './parameters.ts'
import { type KeyPair, Level, NO_KEY, type TlsSession } from './ports/crypto.ts'
import type { Micros } from './ports/datagrams.ts'

export interface HandshakeFlowHost {
  onKeys(level: Level): void
  onHandshakeComplete(): void
}

export class HandshakeFlow {
  readonly #core: ConnectionCore
  readonly #createTls: (parameters: Uint8Array, version: number) => TlsSession
  readonly #host: HandshakeFlowHost
  /** Version of the client's first packet. */
  originalVersion = 0
  retrySourceCid: Uint8Array | undefined
  isAfterVersionNegotiation = false
  /** The client sent or the server may receive 0-RTT. */
  usedEarlyData = false
  /** The peer's first packet has been processed: its CID is known. */
  hasPeer = false
  /** Initial keys of the version before compatible negotiation, for packets still under way. */
  #compat: { readonly version: number; readonly keys: KeyPair } | undefined
  /** DCID from which Initial keys derive. */
  #initialDcid: Uint8Array = EMPTY
  #remembered: TransportParameters | undefined

  constructor(
    core: ConnectionCore,
    createTls: (parameters: Uint8Array, version: number) => TlsSession,
    host: HandshakeFlowHost,
  ) {
    this.#core = core
    this.#createTls = createTls
    this.#host = host
  }

  // ---- client

  /** Sends the first flight to `destinationCid`, which the caller chose at random (RFC 9000 §7.2: at least 8 bytes). */
  startClient(destinationCid: Uint8Array): void {
    const core = this.#core
    this.originalVersion = core.version
    core.originalDestinationCid = destinationCid
    core.paths.primary.cids.adoptPeer(destinationCid, undefined)
    core.paths.primary.isValidated = true
    this.#installInitial(destinationCid)
    core.localParameters.initialSourceCid = core.localCid
    core.localParameters.versionInformation = { chosen: core.version, available: core.config.versions }
    // RFC 9000 §7: TLS authenticates the server, the parameters and the application protocol (ALPN)
    this.#createHandshake(this.#createTls(this.#encode(), core.version))
    core.handshake.advance()
    this.#applyRemembered()
  }

  #applyRemembered(): void {
    const core = this.#core
    if (core.keys.tx(Level.ZeroRtt) === NO_KEY) return
    const raw = core.handshake.tls.peerTransportParameters()
    if (raw === undefined) return core.keys.discard(Level.ZeroRtt)
    const remembered = decodeTransportParameters(raw, 'server')
    this.#remembered = remembered
    this.usedEarlyData = true
    core.streams.applyPeerLimits(remembered)
    core.datagrams.peerFrameBytesMax = remembered.maxDatagramFrameSize
  }

  /** RFC 9001 §4.6.2: rejected 0-RTT data is sent again as 1-RTT, under the server's present limits. */
  onEarlyDataRejected(): void {
    const core = this.#core
    const path = core.paths.primary
    core.keys.discard(Level.ZeroRtt)
    path.recovery.loseAll(path.space)
    if (core.peerParameters !== undefined) core.streams.rewind(core.peerParameters)
  }

  /** A Retry packet `bytes[start, end)`. Obeyed once, before anything else arrived (RFC 9000 §17.2.5.2). */
  onRetry(
    bytes: Uint8Array,
    start: number,
    end: number,
    scid: Uint8Array,
    token: Uint8Array,
    version: number,
  ): boolean {
    const core = this.#core
    if (this.hasPeer || this.retrySourceCid !== undefined || token.length === 0) return false
    if (version !== core.version) return false
    // RFC 9000 §17.2.5.1: "A client MUST discard a Retry packet that contains a Source Connection ID field that is identical to the Destination Connection ID field of its Initial packet."
    if (equalBytes(scid, core.originalDestinationCid)) return false
    const pseudo = retryPseudoPacket(core.originalDestinationCid, bytes.subarray(start, end - 16))
    const tag = core.crypto.retryIntegrityTag(version, pseudo)
    // RFC 9000 §17.2.5.2: "Clients MUST discard Retry packets that have a Retry Integrity Tag that cannot be validated"
    for (let i = 0; i < 16; i++) if (tag[i] !== bytes[end - 16 + i]) return false
    // RFC 9000 §17.2.5.1: "The client MUST use the value from the Source Connection ID field of the Retry packet in the Destination Connection ID field of subsequent packets that it sends."
    this.retrySourceCid = scid
    core.token = token
    core.paths.primary.cids.adoptPeer(scid, undefined)
    this.#installInitial(scid)
    const initial = core.spaces[Level.Initial]
    const { recovery, space } = core.paths.primary
    if (initial !== undefined) recovery.loseAll(initial)
    recovery.loseAll(space)
    // RFC 9000 §17.2.5.3: the same ClientHello again, and packet numbers go on: the space is kept
    core.handshake.restartInitial()
    return true
  }

  /** Version Negotiation: start over with a common version, if there is one (RFC 9368 §2.1). */
  onVersionNegotiation(offered: readonly number[], destinationCid: Uint8Array): boolean {
    const core = this.#core
    const version = core.config.versions.find((candidate) => offered.includes(candidate))
    if (version === undefined) return false
    this.isAfterVersionNegotiation = true
    // RFC 9368 §6: the application protocol is negotiated anew with the new version
    core.version = version
    const { recovery, space } = core.paths.primary
    const initial = core.spaces[Level.Initial]
    if (initial !== undefined) recovery.loseAll(initial)
    recovery.loseAll(space)
    core.keys.discard(Level.ZeroRtt)
    core.handshake.tls.close()
    this.startClient(destinationCid)
    return true
  }

  /** Keys to try on a server's Initial in another version we offered (RFC 9368 §2.3); undefined when not acceptable. */
  candidateKeys(version: number): KeyPair | undefined {
    const core = this.#core
    if (core.isServer || !core.config.versions.includes(version)) return undefined
    // A server may acknowledge the first pieces of a long ClientHello in the original version, before it can choose.
    if (core.hasHandshakeKeys || core.version !== this.originalVersion) return undefined
    return core.crypto.initialKeys(version, this.#initialDcid, 'client')
  }

  /** The candidate keys opened the packet: the server has chosen this version. */
  adoptVersion(version: number, keys: KeyPair): void {
    const core = this.#core
    core.version = version
    core.keys.install(Level.Initial, keys)
    core.handshake.tls.setVersion(version)
    core.observer?.event('version_information', { chosen_version: version.toString(16) }, core.streams.nowUs)
  }

  // ---- server

  /** `originalDcid`: DCID of the client's very first packet; `keys` derive from the DCID of the one just opened. */
  startServer(options: {
    readonly keys: KeyPair
    readonly initialDcid: Uint8Array
    readonly originalDcid: Uint8Array
    readonly retrySourceCid: Uint8Array | undefined
    readonly isAddressValidated: boolean
    readonly resetToken: Uint8Array
  }): void {
    const core = this.#core
    this.originalVersion = core.version
    this.retrySourceCid = options.retrySourceCid
    this.#initialDcid = options.initialDcid
    core.originalDestinationCid = options.originalDcid
    core.keys.install(Level.Initial, options.keys)
    core.paths.primary.isValidated = options.isAddressValidated
    const parameters = core.localParameters
    parameters.initialSourceCid = core.localCid
    parameters.originalDestinationCid = options.originalDcid
    if (options.retrySourceCid !== undefined) parameters.retrySourceCid = options.retrySourceCid
    parameters.statelessResetToken = options.resetToken
    this.#createHandshake(new DeferredTls((peer) => this.#startTls(peer)))
  }

  /** Asks the client to move to another address of ours (RFC 9000 §9.6), with a connection ID for it. */
  preferAddress(preferred: PreferredEndpoint): void {
    const { localParameters, paths } = this.#core
    const { cid, resetToken } = paths.primary.cids.issueForPreferredAddress()
    const { ipv4, ipv6 } = preferred
    localParameters.preferredAddress = {
      ipv4Address: ipv4?.address,
      ipv4Port: ipv4?.port ?? 0,
      ipv6Address: ipv6?.address,
      ipv6Port: ipv6?.port ?? 0,
      cid,
      statelessResetToken: resetToken,
    }
  }

  #startTls(peer: TransportParameters | undefined): TlsSession {
    const core = this.#core
    this.#chooseVersion(peer)
    core.localParameters.versionInformation = { chosen: core.version, available: core.config.versions }
    return this.#createTls(this.#encode(), core.version)
  }

  // RFC 9368 §2.3: the server may pick any compatible version the client offers; versions 1 and 2 are compatible (RFC 9369 §4)
  // RFC 9368 §2.2: only versions known to be compatible are chosen: 1 and 2
  #chooseVersion(peer: TransportParameters | undefined): void {
    const core = this.#core
    const available = peer?.versionInformation?.available ?? []
    const best = core.config.versions.find((version) => available.includes(version)) ?? core.version
    // RFC 9368 §2.3: the choice is the server's; a client that starts in version 2 is left there
    if (best === core.version || best === Version.V1) return
    const old = core.keys.swap(Level.Initial, core.crypto.initialKeys(best, this.#initialDcid, 'server'))
    if (old !== undefined) this.#compat = { version: core.version, keys: old }
    core.version = best
  }

  // ---- both

  #installInitial(dcid: Uint8Array): void {
    const core = this.#core
    this.#initialDcid = dcid
    core.keys.install(Level.Initial, core.crypto.initialKeys(core.version, dcid, core.role))
  }

  /** Key that opens an Initial of `version`, `NO_KEY` when there is none. */
  initialRx(version: number): number {
    if (version === this.#core.version) return this.#core.keys.rx(Level.Initial)
    return this.#compat?.version === version ? this.#compat.keys.rx : NO_KEY
  }

  discardInitial(): void {
    if (this.#compat === undefined) return
    this.#core.crypto.closeKey(this.#compat.keys.rx)
    this.#core.crypto.closeKey(this.#compat.keys.tx)
    this.#compat = undefined
  }

  /** First packet of the peer: from now on its source CID is our destination CID (RFC 9000 §7.2). */
  onFirstPacket(sourceCid: Uint8Array): void {
    this.hasPeer = true
    this.#core.paths.primary.cids.adoptPeer(sourceCid, undefined)
  }

  #encode(): Uint8Array {
    const random = this.#core.randomBytes(2)
    // RFC 9000 §18.1: a reserved parameter (31 * N + 27) exercises that unknown ones are ignored
    const id = 31 * (((random[0] as number) << 8) | (random[1] as number)) + 27
    return encodeTransportParameters(this.#core.localParameters, { id, value: random })
  }

  #createHandshake(tls: TlsSession): void {
    const core = this.#core
    core.handshake = new Handshake(
      tls,
      core.keys,
      {
        onKeys: (level) => this.#host.onKeys(level),
        onPeerParameters: (parameters) => this.#onPeerParameters(parameters),
        onHandshakeComplete: () => this.#host.onHandshakeComplete(),
      },
      core.isServer,
      core.config.cryptoBufferBytesMax,
    )
  }

  #onPeerParameters(parameters: TransportParameters): void {
    const core = this.#core
    const path = core.paths.primary
    authenticatePeer(parameters, {
      role: core.role,
      peerCid: path.cids.active?.cid ?? EMPTY,
      originalDestinationCid: core.originalDestinationCid,
      retrySourceCid: this.retrySourceCid,
      version: core.version,
      originalVersion: this.originalVersion,
      isAfterVersionNegotiation: this.isAfterVersionNegotiation,
      versions: core.config.versions,
    })
    if (this.#remembered !== undefined && core.handshake.tls.earlyDataAccepted()) {
      checkEarlyDataLimits(this.#remembered, parameters)
    }
    core.peerParameters = parameters
    core.ackDelayExponent = parameters.ackDelayExponent
    core.maxAckDelayUs = parameters.maxAckDelayMs * 1000
    core.idleTimeoutUs = effectiveIdleUs(core.config.idleTimeoutUs, parameters.maxIdleTimeoutMs * 1000)
    core.datagrams.peerFrameBytesMax = parameters.maxDatagramFrameSize
    // RFC 10069 §2.1: negotiated when both sides have sent initial_max_path_id
    const localMax = core.localParameters.initialMaxPathId
    if (localMax !== undefined && parameters.initialMaxPathId !== undefined) {
      // RFC 10069 §2.1: with zero-length connection IDs multipath is a PROTOCOL_VIOLATION
      if ((path.cids.active?.cid.length ?? 0) === 0) {
        throw new TransportError('PROTOCOL_VIOLATION', 0, 'multipath with zero-length connection IDs')
      }
      core.multipath.negotiate(localMax, parameters.initialMaxPathId)
    }
    core.streams.applyPeerLimits(parameters)
    path.mtu.setMaximum(Math.min(core.config.mtuBytesMax, parameters.maxUdpPayloadSize), core.streams.nowUs)
    if (parameters.statelessResetToken !== undefined) {
      path.cids.adoptPeer(path.cids.active?.cid ?? EMPTY, parameters.statelessResetToken)
    }
    const preferred = parameters.preferredAddress
    if (preferred !== undefined) path.cids.addPeer(1, preferred.cid, preferred.statelessResetToken)
    core.observer?.event('parameters_set', { owner: 'remote', ...describe(parameters) }, core.streams.nowUs)
    core.observer?.event('parameters_set', { owner: 'local', ...describe(core.localParameters) }, core.streams.nowUs)
  }
}

function effectiveIdleUs(ours: Micros, theirs: Micros): Micros {
  if (ours === 0) return theirs
  return theirs === 0 ? ours : Math.min(ours, theirs)
}

/** Numbers and flags only: connection IDs and tokens are not for logs. */
function describe(parameters: TransportParameters): Record<string, number | boolean> {
  const result: Record<string, number | boolean> = {}
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value === 'number' || typeof value === 'boolean') result[name] = value
  }
  return result
}
