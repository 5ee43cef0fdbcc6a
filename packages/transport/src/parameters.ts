/** Our transport parameters, and the checks of the peer's against the handshake (RFC 9000 §7.3, RFC 9368 §4). */
import { TransportError, type TransportParameters, Version, defaultTransportParameters } from '@quicether/wire'
import { equalBytes } from './bytes.ts'
import type { TransportConfig } from './config.ts'
import type { Role } from './core.ts'

/** What the peer's parameters must agree with. */
export interface HandshakeFacts {
  readonly role: Role
  /** Source CID of the first packet the peer sent. */
  readonly peerCid: Uint8Array
  /** Client: DCID of its very first Initial. */
  readonly originalDestinationCid: Uint8Array
  /** Client: source CID of the Retry it obeyed, undefined without Retry. */
  readonly retrySourceCid: Uint8Array | undefined
  readonly version: number
  readonly originalVersion: number
  /** Client: it reacted to a Version Negotiation packet. */
  readonly isAfterVersionNegotiation: boolean
  readonly versions: readonly number[]
}

/** Where a server wants clients to go after the handshake (RFC 9000 §9.6); at least one address. */
export interface PreferredEndpoint {
  readonly ipv4?: { readonly address: string; readonly port: number }
  readonly ipv6?: { readonly address: string; readonly port: number }
}

/** Parameters of this endpoint for one connection; connection IDs are added by the caller. */
export function localParameters(config: TransportConfig, role: Role): TransportParameters {
  return {
    ...defaultTransportParameters(),
    maxIdleTimeoutMs: Math.ceil(config.idleTimeoutUs / 1000),
    maxUdpPayloadSize: Math.max(1200, Math.min(65_527, config.mtuBytesMax)),
    initialMaxData: config.connectionWindowBytes,
    initialMaxStreamDataBidiLocal: config.streamWindowBytes,
    initialMaxStreamDataBidiRemote: config.streamWindowBytes,
    initialMaxStreamDataUni: config.streamWindowBytes,
    initialMaxStreamsBidi: config.maxStreamsBidi,
    initialMaxStreamsUni: config.maxStreamsUni,
    maxAckDelayMs: Math.ceil(config.maxAckDelayUs / 1000),
    disableActiveMigration: config.isActiveMigrationDisabled,
    activeConnectionIdLimit: config.activeCidLimit,
    maxDatagramFrameSize: config.datagramFrameBytesMax,
    greaseQuicBit: config.isGreaseEnabled,
    // draft-piraux-quic-additional-addresses-03 §3: sent by clients only; of use where there are further paths
    additionalAddresses: role === 'client' && config.maxPaths > 1 && config.announcedAddressesMax > 0,
    ...(config.maxPaths > 1 ? { initialMaxPathId: config.maxPaths - 1 } : {}),
  }
}

function equal(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return equalBytes(a, b)
}

function bad(reason: string): never {
  throw new TransportError('TRANSPORT_PARAMETER_ERROR', 0, reason)
}

/** Throws TransportError when the peer's parameters contradict what was seen on the wire. */
export function authenticatePeer(peer: TransportParameters, facts: HandshakeFacts): void {
  // RFC 9000 §7.3: "An endpoint MUST treat the absence of the initial_source_connection_id transport parameter from either endpoint or the absence of the original_destination_connection_id transport parameter from the server as a connection error of type TRANSPORT_PARAMETER_ERROR."
  if (peer.initialSourceCid === undefined) bad('initial_source_connection_id is missing')
  if (!equal(peer.initialSourceCid, facts.peerCid)) bad('initial_source_connection_id differs from the packets')
  if (facts.role === 'client') {
    if (!equal(peer.originalDestinationCid, facts.originalDestinationCid)) {
      bad('original_destination_connection_id is missing or differs from what we sent')
    }
    if (!equal(peer.retrySourceCid, facts.retrySourceCid)) {
      bad('retry_source_connection_id does not match the Retry packet received, if any')
    }
  }
  authenticateVersion(peer, facts)
}

// RFC 9368 §4: version_information protects against downgrade; violations are VERSION_NEGOTIATION_ERROR
function authenticateVersion(peer: TransportParameters, facts: HandshakeFacts): void {
  const info = peer.versionInformation
  if (info === undefined) {
    // RFC 9368 §8: version 1 after Version Negotiation goes on as if the server had named it as its only version
    if (facts.isAfterVersionNegotiation && facts.version === Version.V1) return
    if (facts.isAfterVersionNegotiation || facts.version !== facts.originalVersion) {
      throw new TransportError(
        'VERSION_NEGOTIATION_ERROR',
        0,
        'the server changed the version without version_information',
      )
    }
    return
  }
  if (info.chosen !== facts.version && facts.role === 'client') {
    throw new TransportError('VERSION_NEGOTIATION_ERROR', 0, 'chosen version differs from the packets')
  }
  if (facts.role === 'server') {
    // RFC 9368 §4#7: "If a server receives Version Information where the Chosen Version is not included in Available Versions, it MUST treat it as a parsing failure."
    if (!info.available.includes(info.chosen)) bad('version_information does not offer the version it chose')
    if (info.chosen !== facts.originalVersion) {
      throw new TransportError('VERSION_NEGOTIATION_ERROR', 0, 'chosen version differs from the packets')
    }
    return
  }
  if (facts.isAfterVersionNegotiation) {
    // RFC 9368 §4#17: "if the client reacted to a Version Negotiation packet and the server's Available Versions field is empty, the client MUST close the connection with a version negotiation error"
    if (info.available.length === 0) {
      throw new TransportError('VERSION_NEGOTIATION_ERROR', 0, 'the server names no version after Version Negotiation')
    }
    const best = facts.versions.find((version) => version === facts.version || info.available.includes(version))
    if (best !== facts.version) {
      throw new TransportError('VERSION_NEGOTIATION_ERROR', 0, 'a better version was available: downgrade detected')
    }
  }
}

/** Numbers from an earlier connection that a client may use for 0-RTT, and a server may not lower (RFC 9000 §7.4.1). */
export function checkEarlyDataLimits(remembered: TransportParameters, now: TransportParameters): void {
  const names = [
    'activeConnectionIdLimit',
    'initialMaxData',
    'initialMaxStreamDataBidiLocal',
    'initialMaxStreamDataBidiRemote',
    'initialMaxStreamDataUni',
    'initialMaxStreamsBidi',
    'initialMaxStreamsUni',
    'maxDatagramFrameSize',
  ] as const
  for (const name of names) {
    if (now[name] < remembered[name]) {
      // RFC 9000 §7.4.1: "a client … MUST treat this as … PROTOCOL_VIOLATION" when limits accepted for 0-RTT are reduced
      throw new TransportError('PROTOCOL_VIOLATION', 0, `${name} is below the value remembered for 0-RTT`)
    }
  }
}
