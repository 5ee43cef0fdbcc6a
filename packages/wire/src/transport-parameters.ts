/** Transport parameters (RFC 9000 §18, RFC 9221, RFC 9287, RFC 9368, RFC 10069): decoded, checked, encoded. */
import { TransportError } from './errors.ts'
import { Reader, varintLength, writeVarint } from './varint.ts'

export const ParameterId = {
  OriginalDestinationConnectionId: 0x00,
  MaxIdleTimeout: 0x01,
  StatelessResetToken: 0x02,
  MaxUdpPayloadSize: 0x03,
  InitialMaxData: 0x04,
  InitialMaxStreamDataBidiLocal: 0x05,
  InitialMaxStreamDataBidiRemote: 0x06,
  InitialMaxStreamDataUni: 0x07,
  InitialMaxStreamsBidi: 0x08,
  InitialMaxStreamsUni: 0x09,
  AckDelayExponent: 0x0a,
  MaxAckDelay: 0x0b,
  DisableActiveMigration: 0x0c,
  PreferredAddress: 0x0d,
  ActiveConnectionIdLimit: 0x0e,
  InitialSourceConnectionId: 0x0f,
  RetrySourceConnectionId: 0x10,
  VersionInformation: 0x11,
  MaxDatagramFrameSize: 0x20,
  InitialMaxPathId: 0x3e,
  GreaseQuicBit: 0x2ab2,
  /** draft-piraux-quic-additional-addresses-03: the experimental number of that version. */
  AdditionalAddresses: 0x925adda03,
} as const

export interface PreferredAddress {
  /** Dotted text, or undefined when the server offers no IPv4 address. */
  readonly ipv4Address: string | undefined
  readonly ipv4Port: number
  readonly ipv6Address: string | undefined
  readonly ipv6Port: number
  readonly cid: Uint8Array
  readonly statelessResetToken: Uint8Array
}

export interface TransportParameters {
  originalDestinationCid?: Uint8Array
  maxIdleTimeoutMs: number
  statelessResetToken?: Uint8Array
  maxUdpPayloadSize: number
  initialMaxData: number
  initialMaxStreamDataBidiLocal: number
  initialMaxStreamDataBidiRemote: number
  initialMaxStreamDataUni: number
  initialMaxStreamsBidi: number
  initialMaxStreamsUni: number
  ackDelayExponent: number
  maxAckDelayMs: number
  disableActiveMigration: boolean
  preferredAddress?: PreferredAddress
  activeConnectionIdLimit: number
  initialSourceCid?: Uint8Array
  retrySourceCid?: Uint8Array
  versionInformation?: { readonly chosen: number; readonly available: readonly number[] }
  /** 0 = DATAGRAM frames not supported. */
  maxDatagramFrameSize: number
  greaseQuicBit: boolean
  /** Undefined = multipath not supported by the sender. */
  initialMaxPathId?: number
  /** Client: it understands ADDITIONAL_ADDRESSES frames. */
  additionalAddresses: boolean
}

/** Values that hold when a parameter is absent (RFC 9000 §18.2). */
export function defaultTransportParameters(): TransportParameters {
  return {
    maxIdleTimeoutMs: 0,
    maxUdpPayloadSize: 65_527,
    initialMaxData: 0,
    initialMaxStreamDataBidiLocal: 0,
    initialMaxStreamDataBidiRemote: 0,
    initialMaxStreamDataUni: 0,
    initialMaxStreamsBidi: 0,
    initialMaxStreamsUni: 0,
    ackDelayExponent: 3,
    maxAckDelayMs: 25,
    disableActiveMigration: false,
    activeConnectionIdLimit: 2,
    maxDatagramFrameSize: 0,
    greaseQuicBit: false,
    additionalAddresses: false,
  }
}

const numeric = [
  [ParameterId.MaxIdleTimeout, 'maxIdleTimeoutMs'],
  [ParameterId.MaxUdpPayloadSize, 'maxUdpPayloadSize'],
  [ParameterId.InitialMaxData, 'initialMaxData'],
  [ParameterId.InitialMaxStreamDataBidiLocal, 'initialMaxStreamDataBidiLocal'],
  [ParameterId.InitialMaxStreamDataBidiRemote, 'initialMaxStreamDataBidiRemote'],
  [ParameterId.InitialMaxStreamDataUni, 'initialMaxStreamDataUni'],
  [ParameterId.InitialMaxStreamsBidi, 'initialMaxStreamsBidi'],
  [ParameterId.InitialMaxStreamsUni, 'initialMaxStreamsUni'],
  [ParameterId.AckDelayExponent, 'ackDelayExponent'],
  [ParameterId.MaxAckDelay, 'maxAckDelayMs'],
  [ParameterId.ActiveConnectionIdLimit, 'activeConnectionIdLimit'],
  [ParameterId.MaxDatagramFrameSize, 'maxDatagramFrameSize'],
] as const

const serverOnly: readonly number[] = [
  ParameterId.OriginalDestinationConnectionId,
  ParameterId.PreferredAddress,
  ParameterId.RetrySourceConnectionId,
  ParameterId.StatelessResetToken,
]

function bad(reason: string): never {
  throw new TransportError('TRANSPORT_PARAMETER_ERROR', 0, reason)
}

/** Most parameters looked at; more than this in one extension is an attack, not a peer. */
const PARAMETERS_MAX = 256

/** Decodes and validates what a peer of role `sender` sent. Throws TransportError TRANSPORT_PARAMETER_ERROR. */
export function decodeTransportParameters(bytes: Uint8Array, sender: 'client' | 'server'): TransportParameters {
  const parameters = defaultTransportParameters()
  const seen = new Set<number>()
  const reader = new Reader(bytes)
  try {
    while (reader.remaining > 0) {
      const id = reader.varintClamped()
      const length = reader.varintClamped()
      const start = reader.skip(length)
      // RFC 9000 §7.4: "An endpoint SHOULD treat receipt of duplicate transport parameters as a connection error of type TRANSPORT_PARAMETER_ERROR."
      if (seen.has(id)) bad(`parameter 0x${id.toString(16)} twice`)
      if (seen.size >= PARAMETERS_MAX) bad('too many parameters')
      seen.add(id)
      // RFC 9000 §18.2: "A client MUST NOT include any server-only transport parameter"
      if (sender === 'client' && serverOnly.includes(id))
        bad(`server-only parameter 0x${id.toString(16)} from a client`)
      // draft-piraux-quic-additional-addresses-03 §3: "It MUST NOT be sent by a server."
      if (sender === 'server' && id === ParameterId.AdditionalAddresses)
        bad('client-only parameter additional_addresses from a server')
      decodeOne(parameters, id, bytes.subarray(start, start + length))
    }
  } catch (error) {
    if (error instanceof TransportError && error.codeName === 'FRAME_ENCODING_ERROR') bad('truncated parameter')
    throw error
  }
  validate(parameters)
  return parameters
}

function decodeOne(p: TransportParameters, id: number, value: Uint8Array): void {
  for (const [numericId, name] of numeric) {
    if (id === numericId) {
      p[name] = wholeVarint(id, value)
      return
    }
  }
  switch (id) {
    case ParameterId.OriginalDestinationConnectionId:
      p.originalDestinationCid = cidOf(id, value)
      return
    case ParameterId.InitialSourceConnectionId:
      p.initialSourceCid = cidOf(id, value)
      return
    case ParameterId.RetrySourceConnectionId:
      p.retrySourceCid = cidOf(id, value)
      return
    case ParameterId.StatelessResetToken:
      if (value.length !== 16) bad('stateless_reset_token is not 16 bytes')
      p.statelessResetToken = value.slice()
      return
    case ParameterId.DisableActiveMigration:
      if (value.length !== 0) bad('disable_active_migration carries a value')
      p.disableActiveMigration = true
      return
    case ParameterId.GreaseQuicBit:
      // RFC 9287 §3: "The value of this transport parameter … MUST be empty … treat … as … TRANSPORT_PARAMETER_ERROR"
      if (value.length !== 0) bad('grease_quic_bit carries a value')
      p.greaseQuicBit = true
      return
    case ParameterId.AdditionalAddresses:
      if (value.length !== 0) bad('additional_addresses carries a value')
      p.additionalAddresses = true
      return
    case ParameterId.PreferredAddress:
      p.preferredAddress = decodePreferredAddress(value)
      return
    case ParameterId.VersionInformation:
      p.versionInformation = decodeVersionInformation(value)
      return
    case ParameterId.InitialMaxPathId:
      p.initialMaxPathId = wholeVarint(id, value)
      return
    default:
    // RFC 9000 §7.4.2: "An endpoint MUST ignore transport parameters that it does not support."
  }
}

function wholeVarint(id: number, value: Uint8Array): number {
  const reader = new Reader(value)
  const result = reader.varintClamped()
  if (reader.remaining !== 0) bad(`parameter 0x${id.toString(16)} has ${reader.remaining} bytes too many`)
  // RFC 9000 §4.6: a max_streams parameter above 2^60 is TRANSPORT_PARAMETER_ERROR; doubles cannot tell, bytes can
  const isStreamLimit = id === ParameterId.InitialMaxStreamsBidi || id === ParameterId.InitialMaxStreamsUni
  if (isStreamLimit && exceeds2To60(value)) bad('max_streams above 2^60')
  return result
}

function exceeds2To60(value: Uint8Array): boolean {
  if (value.length !== 8 || ((value[0] as number) & 0x3f) < 0x10) return false
  return !(value[0] === 0xd0 && value.subarray(1).every((byte) => byte === 0))
}

function cidOf(id: number, value: Uint8Array): Uint8Array {
  if (value.length > 20) bad(`connection ID of ${value.length} bytes in parameter 0x${id.toString(16)}`)
  return value.slice()
}

function decodePreferredAddress(value: Uint8Array): PreferredAddress {
  if (value.length < 41) bad('preferred_address too short')
  const cidLength = value[24] as number
  // RFC 9000 §18.2: "A server that chooses a zero-length connection ID MUST NOT provide a preferred address."
  if (cidLength < 1 || cidLength > 20 || value.length !== 41 + cidLength)
    bad('preferred_address with a bad connection ID')
  const v4 = value.subarray(0, 4)
  const words: string[] = []
  for (let i = 6; i < 22; i += 2) words.push((((value[i] as number) << 8) | (value[i + 1] as number)).toString(16))
  const ipv4Port = ((value[4] as number) << 8) | (value[5] as number)
  const ipv6Port = ((value[22] as number) << 8) | (value[23] as number)
  return {
    ipv4Address: ipv4Port === 0 ? undefined : v4.join('.'),
    ipv4Port,
    ipv6Address: ipv6Port === 0 ? undefined : words.join(':'),
    ipv6Port,
    cid: value.slice(25, 25 + cidLength),
    statelessResetToken: value.slice(25 + cidLength),
  }
}

// RFC 9368 §3: chosen version, then available versions, 4 bytes each, none zero
function decodeVersionInformation(value: Uint8Array): { chosen: number; available: number[] } {
  if (value.length < 4 || value.length % 4 !== 0) bad('version_information has a broken length')
  const reader = new Reader(value)
  const chosen = reader.u32()
  const available: number[] = []
  while (reader.remaining > 0) available.push(reader.u32())
  if (chosen === 0 || available.includes(0)) bad('version_information names version 0')
  return { chosen, available }
}

function validate(p: TransportParameters): void {
  // RFC 9000 §18.2: "Values below 1200 are invalid." / "Values above 20 are invalid." / "Values of 2^14 or greater are invalid."
  if (p.maxUdpPayloadSize < 1200) bad(`max_udp_payload_size ${p.maxUdpPayloadSize} below 1200`)
  if (p.ackDelayExponent > 20) bad(`ack_delay_exponent ${p.ackDelayExponent} above 20`)
  if (p.maxAckDelayMs >= 16_384) bad(`max_ack_delay ${p.maxAckDelayMs} of 2^14 or more`)
  if (p.activeConnectionIdLimit < 2) bad(`active_connection_id_limit ${p.activeConnectionIdLimit} below 2`)
  // RFC 10069 §2.1: "The value of the initial_max_path_id parameter MUST NOT exceed 2^32-1"
  if (p.initialMaxPathId !== undefined && p.initialMaxPathId > 0xffff_ffff) bad('initial_max_path_id above 2^32-1')
}

class ParameterWriter {
  #bytes = new Uint8Array(1024)
  #length = 0

  value(id: number, bytes: Uint8Array): void {
    this.#reserve(16 + bytes.length)
    this.#length = writeVarint(this.#bytes, this.#length, id)
    this.#length = writeVarint(this.#bytes, this.#length, bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  number(id: number, value: number): void {
    const bytes = new Uint8Array(varintLength(value))
    writeVarint(bytes, 0, value)
    this.value(id, bytes)
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return
    const bigger = new Uint8Array((this.#bytes.length + length) * 2)
    bigger.set(this.#bytes)
    this.#bytes = bigger
  }
}

/**
 * Encodes parameters, leaving out defaults. `grease` adds one reserved parameter (RFC 9000 §18.1) when given:
 * `id` is 31 * N + 27.
 */
export function encodeTransportParameters(
  p: TransportParameters,
  grease?: { readonly id: number; readonly value: Uint8Array },
): Uint8Array {
  const writer = new ParameterWriter()
  const defaults = defaultTransportParameters()
  if (p.originalDestinationCid) writer.value(ParameterId.OriginalDestinationConnectionId, p.originalDestinationCid)
  for (const [id, name] of numeric) if (p[name] !== defaults[name]) writer.number(id, p[name])
  if (p.statelessResetToken) writer.value(ParameterId.StatelessResetToken, p.statelessResetToken)
  if (p.disableActiveMigration) writer.value(ParameterId.DisableActiveMigration, new Uint8Array(0))
  if (p.preferredAddress) writer.value(ParameterId.PreferredAddress, encodePreferredAddress(p.preferredAddress))
  if (p.initialSourceCid) writer.value(ParameterId.InitialSourceConnectionId, p.initialSourceCid)
  if (p.retrySourceCid) writer.value(ParameterId.RetrySourceConnectionId, p.retrySourceCid)
  if (p.versionInformation) {
    const versions = [p.versionInformation.chosen, ...p.versionInformation.available]
    const bytes = new Uint8Array(4 * versions.length)
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < versions.length; i++) view.setUint32(4 * i, versions[i] as number)
    writer.value(ParameterId.VersionInformation, bytes)
  }
  if (p.greaseQuicBit) writer.value(ParameterId.GreaseQuicBit, new Uint8Array(0))
  if (p.additionalAddresses) writer.value(ParameterId.AdditionalAddresses, new Uint8Array(0))
  if (p.initialMaxPathId !== undefined) writer.number(ParameterId.InitialMaxPathId, p.initialMaxPathId)
  if (grease) writer.value(grease.id, grease.value)
  return writer.finish()
}

function encodePreferredAddress(address: PreferredAddress): Uint8Array {
  const bytes = new Uint8Array(41 + address.cid.length)
  if (address.ipv4Address !== undefined) {
    bytes.set(address.ipv4Address.split('.').map(Number), 0)
    bytes[4] = address.ipv4Port >>> 8
    bytes[5] = address.ipv4Port & 0xff
  }
  if (address.ipv6Address !== undefined) {
    bytes.set(parseIpv6(address.ipv6Address), 6)
    bytes[22] = address.ipv6Port >>> 8
    bytes[23] = address.ipv6Port & 0xff
  }
  bytes[24] = address.cid.length
  bytes.set(address.cid, 25)
  bytes.set(address.statelessResetToken, 25 + address.cid.length)
  return bytes
}

/** 16 bytes of an IPv6 address text, `::` allowed; throws RangeError for anything else. */
export function parseIpv6(text: string): Uint8Array {
  const [head = '', tail] = text.split('::')
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16))
  const left = words(head)
  const right = tail === undefined ? [] : words(tail)
  const missing = 8 - left.length - right.length
  if (tail === undefined ? missing !== 0 : missing < 0) throw new RangeError(`${text} is not an IPv6 address`)
  const all = [...left, ...new Array<number>(tail === undefined ? 0 : missing).fill(0), ...right]
  const bytes = new Uint8Array(16)
  for (let i = 0; i < 8; i++) {
    const word = all[i] as number
    if (!(word >= 0 && word <= 0xffff)) throw new RangeError(`${text} is not an IPv6 address`)
    bytes[2 * i] = word >>> 8
    bytes[2 * i + 1] = word & 0xff
  }
  return bytes
}
