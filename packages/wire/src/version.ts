/** QUIC versions and what differs between them on the wire (RFC 9000, RFC 9369). */

export const Version = { Negotiation: 0, V1: 0x0000_0001, V2: 0x6b33_43cf } as const

/** Versions the engine speaks, most preferred first. */
// RFC 9369 §3: everything version 1 requires holds for version 2, with other numbers and labels
export const supportedVersions: readonly number[] = [Version.V2, Version.V1]

/** Whether this implementation speaks the version. */
export function isSupportedVersion(version: number): boolean {
  return version === Version.V1 || version === Version.V2
}

// RFC 9000 §15: "Versions that follow the pattern 0x?a?a?a?a are reserved for use in forcing version negotiation"
/** Whether the version exists only to exercise version negotiation. */
export function isReservedVersion(version: number): boolean {
  return (version & 0x0f0f_0f0f) >>> 0 === 0x0a0a_0a0a
}

/** Packet types; the first four equal the encryption levels. */
export const PacketType = { Initial: 0, ZeroRtt: 1, Handshake: 2, OneRtt: 3, Retry: 4, VersionNegotiation: 5 } as const
export type PacketType = (typeof PacketType)[keyof typeof PacketType]

const typesV1: readonly PacketType[] = [PacketType.Initial, PacketType.ZeroRtt, PacketType.Handshake, PacketType.Retry]
// RFC 9369 §3.2: Initial 0b01, 0-RTT 0b10, Handshake 0b11, Retry 0b00
const typesV2: readonly PacketType[] = [PacketType.Retry, PacketType.Initial, PacketType.ZeroRtt, PacketType.Handshake]

/** Meaning of the two type bits of a long header. */
export function longHeaderType(version: number, bits: number): PacketType {
  return (version === Version.V2 ? typesV2 : typesV1)[bits & 3] as PacketType
}

/** The two type bits of a long header for a packet type. */
export function longHeaderBits(version: number, type: PacketType): number {
  return (version === Version.V2 ? typesV2 : typesV1).indexOf(type)
}
