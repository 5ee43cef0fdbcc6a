/** What the proxy saw on the wire between client and server: neutral evidence, taken without keys or peers' logs. */
import { type PacketView, viewDatagram } from './datagram-view.ts'

export type Direction = 'toServer' | 'toClient'

export interface DirectionCounts {
  datagrams: number
  bytes: number
  dropped: number
  corrupted: number
  duplicated: number
  reordered: number
  /** ECN marks turned into CE by the relay. */
  congested: number
  /** Share of the last datagrams that carried an ECN mark; only the relay of the ECN case sees them. */
  lastMarkedRatio: number
}

function emptyCounts(): DirectionCounts {
  return {
    datagrams: 0,
    bytes: 0,
    dropped: 0,
    corrupted: 0,
    duplicated: 0,
    reordered: 0,
    congested: 0,
    lastMarkedRatio: 0,
  }
}

/** Anti-amplification account of one client address, kept until the server has seen proof of the address. */
interface AddressAccount {
  receivedBytes: number
  sentBytes: number
  isValidated: boolean
  /** Source CIDs of the Initials seen: a new one is a new connection from the same address. */
  readonly clientCids: Set<string>
  readonly destinationCids: Set<string>
}

export class WireFacts {
  readonly toServer = emptyCounts()
  readonly toClient = emptyCounts()
  /** Versions in long headers, in order of first sight. */
  readonly clientVersions: number[] = []
  readonly serverVersions: number[] = []
  versionNegotiations = 0
  retries = 0
  initialsWithToken = 0
  zeroRttPackets = 0
  /** Smallest datagram with a client Initial; RFC 9000 §14.1 wants 1200 at least. */
  clientInitialBytesMin = Infinity
  /** Bytes by which the server passed three times what it had received (RFC 9000 §8.1); 0 = never. */
  amplificationExcessBytes = 0
  amplificationRatioMax = 0
  rebinds = 0
  /** Datagrams sent by the server to an address that the client (or its NAT) moved to. */
  toMovedAddress = 0
  readonly accounts = new Map<string, AddressAccount>()
  #serverCidLength = 8
  #clientCidLength = 8

  /** A client datagram on its way, impaired or not. `address` names where the client sent it from. */
  onFromClient(bytes: Uint8Array, address: string): void {
    for (const packet of viewDatagram(bytes, this.#serverCidLength)) {
      const account = this.#account(address)
      if (packet.kind === 'short') account.destinationCids.add(packet.destinationCid)
      if (packet.kind === 'zeroRtt') this.zeroRttPackets += 1
      if (packet.kind === 'initial') this.#onClientInitial(packet, bytes.length)
      if (packet.version !== 0) note(this.clientVersions, packet.version)
    }
  }

  /** The same datagram when it is really handed to the server. */
  onDeliveredToServer(bytes: Uint8Array, address: string): void {
    const account = this.#account(address)
    for (const packet of viewDatagram(bytes, this.#serverCidLength)) {
      if (packet.kind === 'initial' && !account.clientCids.has(packet.sourceCid)) {
        account.clientCids.add(packet.sourceCid)
        account.receivedBytes = 0
        account.sentBytes = 0
        account.isValidated = false
      }
      // RFC 9000 §8.1: a token, or a packet protected with Handshake keys, shows that the client owns its address.
      if (packet.kind === 'handshake' || packet.tokenBytes > 0) account.isValidated = true
      if (packet.kind === 'short') account.isValidated = true
    }
    account.receivedBytes += bytes.length
  }

  onFromServer(bytes: Uint8Array, address: string, isMoved: boolean): void {
    if (isMoved) this.toMovedAddress += 1
    for (const packet of viewDatagram(bytes, this.#clientCidLength)) {
      if (packet.kind === 'versionNegotiation') this.versionNegotiations += 1
      if (packet.kind === 'retry') this.retries += 1
      if (packet.kind === 'initial') this.#serverCidLength = packet.sourceCid.length / 2
      if (packet.version !== 0) note(this.serverVersions, packet.version)
    }
    if (!isMoved) this.#onServerBytes(bytes.length, this.#account(address))
  }

  /** Connection IDs used by the client on more than one address; RFC 9000 §9.5 forbids it when the client moves. */
  sharedDestinationCids(): string[] {
    const seen = new Set<string>()
    const shared: string[] = []
    for (const account of this.accounts.values()) {
      for (const cid of account.destinationCids) {
        if (seen.has(cid)) shared.push(cid)
        seen.add(cid)
      }
    }
    return shared
  }

  #onClientInitial(packet: PacketView, datagramBytes: number): void {
    this.#clientCidLength = packet.sourceCid.length / 2
    this.clientInitialBytesMin = Math.min(this.clientInitialBytesMin, datagramBytes)
    if (packet.tokenBytes > 0) this.initialsWithToken += 1
  }

  #onServerBytes(bytes: number, account: AddressAccount): void {
    if (account.isValidated) return
    account.sentBytes += bytes
    if (account.receivedBytes === 0) return
    this.amplificationRatioMax = Math.max(this.amplificationRatioMax, account.sentBytes / account.receivedBytes)
    const excessBytes = account.sentBytes - 3 * account.receivedBytes
    this.amplificationExcessBytes = Math.max(this.amplificationExcessBytes, excessBytes)
  }

  #account(address: string): AddressAccount {
    let account = this.accounts.get(address)
    if (account === undefined) {
      account = {
        receivedBytes: 0,
        sentBytes: 0,
        isValidated: false,
        clientCids: new Set(),
        destinationCids: new Set(),
      }
      this.accounts.set(address, account)
    }
    return account
  }

  /** A plain object for the log. */
  toJSON(): Record<string, unknown> {
    return {
      toServer: this.toServer,
      toClient: this.toClient,
      clientVersions: this.clientVersions.map((v) => `0x${v.toString(16)}`),
      serverVersions: this.serverVersions.map((v) => `0x${v.toString(16)}`),
      versionNegotiations: this.versionNegotiations,
      retries: this.retries,
      initialsWithToken: this.initialsWithToken,
      zeroRttPackets: this.zeroRttPackets,
      clientInitialBytesMin: this.clientInitialBytesMin,
      amplificationExcessBytes: this.amplificationExcessBytes,
      amplificationRatioMax: Number(this.amplificationRatioMax.toFixed(2)),
      rebinds: this.rebinds,
      toMovedAddress: this.toMovedAddress,
      clientAddresses: this.accounts.size,
      sharedDestinationCids: this.sharedDestinationCids(),
    }
  }
}

function note(list: number[], value: number): void {
  if (!list.includes(value) && list.length < 16) list.push(value)
}
