/** The parts of one connection, wired together; receiver, transmitter and connection share it. No behaviour of its own. */
import { type TransportParameters, Version } from '@quicether/wire'
import type { TransportConfig } from './config.ts'
import { CoupledGroup } from './congestion/coupled.ts'
import { DatagramQueue } from './datagram/datagram-queue.ts'
import { EventQueue } from './event-queue.ts'
import type { CloseReason } from './events.ts'
import type { Handshake } from './handshake.ts'
import { KeyRing } from './key-ring.ts'
import type { ConnectionObserver } from './observe.ts'
import { AddressAnnouncer } from './path/address-announcer.ts'
import { AddressTokens } from './path/address-tokens.ts'
import { AnnouncedAddresses } from './path/announced-addresses.ts'
import type { Multipath } from './path/multipath.ts'
import type { PathManager } from './path/path-manager.ts'
import type { CryptoPort, RandomSource } from './ports/crypto.ts'
import type { Micros } from './ports/datagrams.ts'
import type { PacketSpace } from './recovery/packet-space.ts'
import type { RecoveryContext } from './recovery/recovery.ts'
import { Reinjection } from './schedule/reinjection.ts'
import { type SendPolicy, createSendPolicy } from './schedule/send-policy.ts'
import { StreamSet } from './stream/stream-set.ts'

export type Role = 'client' | 'server'

/** Legal order: each state may only move to a later one. */
export const LifeState = { Handshaking: 0, Established: 1, Closing: 2, Draining: 3, Drained: 4 } as const

export interface CoreCounters {
  packetsSent: number
  packetsReceived: number
  bytesSent: number
  bytesReceived: number
  packetsDropped: number
  duplicates: number
  keyUpdates: number
}

export class ConnectionCore implements RecoveryContext {
  readonly role: Role
  readonly isServer: boolean
  readonly config: TransportConfig
  readonly crypto: CryptoPort
  readonly random: RandomSource
  observer: ConnectionObserver | null
  readonly events: EventQueue = new EventQueue()
  readonly keys: KeyRing
  readonly policy: SendPolicy
  readonly reinjection: Reinjection
  readonly streams: StreamSet
  readonly datagrams: DatagramQueue
  /** Congestion controllers that know of each other, where the algorithm couples them. */
  readonly coupled: CoupledGroup = new CoupledGroup()
  /** Further addresses of the server: what a server tells, what a client was told. */
  readonly announcer: AddressAnnouncer = new AddressAnnouncer(this)
  readonly announced: AnnouncedAddresses = new AnnouncedAddresses(this)
  readonly counters: CoreCounters = {
    packetsSent: 0,
    packetsReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    packetsDropped: 0,
    duplicates: 0,
    keyUpdates: 0,
  }
  version: number = Version.V1
  state: number = LifeState.Handshaking
  closeReason: CloseReason | undefined
  localParameters: TransportParameters
  peerParameters: TransportParameters | undefined
  /** Initial, -, Handshake, 1-RTT of path 0. */
  readonly spaces: (PacketSpace | undefined)[] = [undefined, undefined, undefined, undefined]
  /** Set right after construction; they need the core themselves. */
  handshake!: Handshake
  paths!: PathManager
  multipath!: Multipath

  // RecoveryContext
  handshakeConfirmed = false
  peerCompletedAddressValidation = false
  hasHandshakeKeys = false
  maxAckDelayUs: Micros = 25_000

  /** CID the peer uses for us during the handshake, and what it calls itself. */
  localCid: Uint8Array = EMPTY
  originalDestinationCid: Uint8Array = EMPTY
  /** Token for Initial packets: from Retry or NEW_TOKEN. */
  token: Uint8Array = EMPTY
  ackDelayExponent = 3
  handshakeDonePending = false
  /** Server: addresses of the client that are owed a token. */
  readonly addressTokens: AddressTokens = new AddressTokens()
  /** Tokens waiting for a NEW_TOKEN frame. */
  readonly newTokens: Uint8Array[] = []
  pingPending = false
  lastActivityUs: Micros = 0
  /** An ack-eliciting packet was sent since the last one was received (RFC 9000 §10.1). */
  sentElicitingSinceReceive = false
  idleTimeoutUs: Micros = 0
  createdAtUs: Micros = 0

  constructor(
    role: Role,
    config: TransportConfig,
    crypto: CryptoPort,
    random: RandomSource,
    parameters: TransportParameters,
    observer: ConnectionObserver | null,
  ) {
    this.role = role
    this.isServer = role === 'server'
    this.config = config
    this.crypto = crypto
    this.random = random
    this.observer = observer
    this.localParameters = parameters
    this.keys = new KeyRing(crypto, config.keyUpdatePackets)
    this.policy = createSendPolicy(config)
    this.reinjection = new Reinjection(this)
    this.streams = new StreamSet({ role, ...config, policy: this.policy }, this.events)
    this.datagrams = new DatagramQueue(config.datagramQueueMax)
    this.idleTimeoutUs = config.idleTimeoutUs
    this.peerCompletedAddressValidation = role === 'server'
  }

  randomBytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    this.random.fill(bytes)
    return bytes
  }
}

export const EMPTY: Uint8Array = new Uint8Array(0)
