/** Everything a capture tells about one connection: keys, packet numbers, and the connection IDs of its paths. */
import { HeaderStatus, type HeaderView, PacketType } from '@quicether/wire'
import { FrameJson } from '../qlog/frame-json.ts'
import type { PacketKind, Problem } from './decoded-packet.ts'
import { HandshakeReader } from './handshake-reader.ts'
import type { KeyLogTable, TlsSecrets } from './key-log.ts'
import { initialKeys, type Opened, PacketKeys } from './packet-keys.ts'

/** Packet number spaces remembered, of all paths and both directions; the oldest go first. */
const SPACES_MAX = 8_192
const INITIAL_VERSIONS_MAX = 4

/** Told of connection IDs as frames bring them. */
export type OnCid = (cid: Uint8Array, isToServer: boolean, pathId: number) => void

/** A packet of this connection, not opened yet. */
export interface PacketPlace {
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  readonly isToServer: boolean
  readonly pathId: number
}

export interface Contents {
  readonly packetNumber: number | undefined
  readonly generation: number | undefined
  readonly frames: string | undefined
  readonly problem: Problem | undefined
}

/** Frames as JSON; on the way CRYPTO data and new connection IDs are picked up. */
class LearningFrames extends FrameJson {
  payload: Uint8Array = new Uint8Array(0)
  onCryptoData: (offset: number, data: Uint8Array) => void = () => {}
  onNewCid: (pathId: number, cid: Uint8Array) => void = () => {}

  override onCrypto(offset: number, start: number, end: number): void {
    this.onCryptoData(offset, this.payload.subarray(start, end))
    super.onCrypto(offset, start, end)
  }

  override onNewConnectionId(
    pathId: number,
    isPathFrame: boolean,
    sequence: number,
    retirePriorTo: number,
    cidStart: number,
    cidLength: number,
    tokenStart: number,
  ): void {
    this.onNewCid(pathId, this.payload.slice(cidStart, cidStart + cidLength))
    super.onNewConnectionId(pathId, isPathFrame, sequence, retirePriorTo, cidStart, cidLength, tokenStart)
  }
}

const unread = (problem: Problem): Contents => ({
  packetNumber: undefined,
  generation: undefined,
  frames: undefined,
  problem,
})

export class ConnectionDecoder {
  readonly number: number
  /** Of the latest long header of the server. */
  version: number
  /** From the first Initial on; empty IDs are told apart by addresses. */
  clientCidLength: number
  readonly #keyLog: KeyLogTable
  readonly #onCid: OnCid
  readonly #frames = new LearningFrames()
  /** DCID of the client's first Initial, or of the first after a Retry. */
  #initialDcid: Uint8Array
  #initial = new Map<number, ReturnType<typeof initialKeys>>()
  readonly #largest = new Map<string, number>()
  #secrets: TlsSecrets | undefined
  readonly #keys = new Map<keyof TlsSecrets, PacketKeys>()
  /** Transport parameters and client random, by the CRYPTO streams that carry them. */
  readonly #clientHello = new HandshakeReader('client')
  readonly #serverHandshake = new HandshakeReader('server')
  #hasPreferredCid = false

  constructor(
    number: number,
    first: { readonly version: number; readonly dcid: Uint8Array; readonly clientCidLength: number },
    keyLog: KeyLogTable,
    onCid: OnCid,
  ) {
    this.number = number
    this.version = first.version
    this.clientCidLength = first.clientCidLength
    this.#initialDcid = first.dcid
    this.#keyLog = keyLog
    this.#onCid = onCid
  }

  /** Whether all that the handshake tells is known, or given up. */
  get isHandshakeRead(): boolean {
    return this.#clientHello.isOver && this.#serverHandshake.isOver
  }

  /** Frees the memory of a handshake that did not end. */
  giveUpHandshake(): void {
    this.#clientHello.release()
    this.#serverHandshake.release()
  }

  /** RFC 9001 §5.2: after a Retry the Initial keys come from the connection ID that the server chose in it. */
  onRetry(serverCid: Uint8Array): void {
    this.#initialDcid = serverCid
    this.#initial.clear()
  }

  /** Opens a packet whose header was read into `header`. */
  open(header: HeaderView, place: PacketPlace): Contents {
    if (!place.isToServer && header.version !== 0) this.version = header.version
    const keys = this.#keysFor(header, place.isToServer)
    if (keys === undefined) return unread('no keys')
    const space = `${place.isToServer} ${spaceOf(header.type)} ${place.pathId}`
    const opened = keys.open({
      bytes: place.bytes,
      start: place.start,
      end: place.end,
      pnOffset: header.pnOffset,
      isLong: header.type !== PacketType.OneRtt,
      pathId: place.pathId,
      largest: this.#largest.get(space) ?? -1,
    })
    if (opened === undefined) return unread('not decrypted')
    this.#note(space, opened.packetNumber)
    return this.#contents(header.type, opened, place.isToServer)
  }

  #note(space: string, packetNumber: number): void {
    if (packetNumber <= (this.#largest.get(space) ?? -1)) return
    this.#largest.set(space, packetNumber)
    if (this.#largest.size <= SPACES_MAX) return
    const [oldest] = this.#largest.keys()
    if (oldest !== undefined) this.#largest.delete(oldest)
  }

  #keysFor(header: HeaderView, isToServer: boolean): PacketKeys | undefined {
    switch (header.type) {
      case PacketType.Initial: {
        const both = this.#initialOf(header.version)
        return isToServer ? both?.client : both?.server
      }
      case PacketType.ZeroRtt:
        return isToServer ? this.#fromSecret('earlyClient', header.version) : undefined
      case PacketType.Handshake:
        return this.#fromSecret(isToServer ? 'handshakeClient' : 'handshakeServer', header.version)
      default:
        return this.#fromSecret(isToServer ? 'oneRttClient' : 'oneRttServer', this.version)
    }
  }

  #initialOf(version: number): ReturnType<typeof initialKeys> {
    if (!this.#initial.has(version) && this.#initial.size < INITIAL_VERSIONS_MAX) {
      this.#initial.set(version, initialKeys(this.#initialDcid, version))
    }
    return this.#initial.get(version)
  }

  #fromSecret(name: keyof TlsSecrets, version: number): PacketKeys | undefined {
    const known = this.#keys.get(name)
    if (known !== undefined) return known
    const { clientRandom } = this.#clientHello
    this.#secrets ??= clientRandom === undefined ? undefined : this.#keyLog.get(clientRandom)
    const secret = this.#secrets?.[name]
    if (secret === undefined) return undefined
    const keys = new PacketKeys(secret, version)
    this.#keys.set(name, keys)
    return keys
  }

  #contents(type: PacketType, opened: Opened, isToServer: boolean): Contents {
    const { payload } = opened
    const frames = this.#frames
    frames.payload = payload
    frames.onCryptoData = (offset, data) => this.#onCrypto(type, isToServer, offset, data)
    // A connection ID is for packets to the one who gives it.
    frames.onNewCid = (pathId, cid) => this.#onCid(cid, !isToServer, pathId)
    const parameters = (isToServer ? this.#clientHello : this.#serverHandshake).parameters
    const json = frames.encode(payload, 0, payload.length, type, parameters?.ackDelayExponent ?? 3)
    return {
      packetNumber: opened.packetNumber,
      generation: type === PacketType.OneRtt ? opened.generation : undefined,
      frames: json,
      problem: undefined,
    }
  }

  #onCrypto(type: PacketType, isToServer: boolean, offset: number, data: Uint8Array): void {
    if (type === PacketType.Initial && isToServer) this.#clientHello.add(offset, data)
    if (type !== PacketType.Handshake || isToServer) return
    this.#serverHandshake.add(offset, data)
    const { preferredAddress } = this.#serverHandshake.parameters ?? {}
    if (preferredAddress === undefined || this.#hasPreferredCid) return
    this.#hasPreferredCid = true
    // RFC 9000 §5.1.1: the connection ID of the preferred address has sequence number 1
    this.#onCid(preferredAddress.cid, true, 0)
  }
}

/** RFC 9000 §12.3: 0-RTT and 1-RTT share a packet number space. */
function spaceOf(type: PacketType): number {
  return type === PacketType.ZeroRtt ? PacketType.OneRtt : type
}

const kinds: Readonly<Record<PacketType, PacketKind>> = {
  [PacketType.Initial]: 'initial',
  [PacketType.ZeroRtt]: '0RTT',
  [PacketType.Handshake]: 'handshake',
  [PacketType.OneRtt]: '1RTT',
  [PacketType.Retry]: 'retry',
  [PacketType.VersionNegotiation]: 'version_negotiation',
}

/** What the header says the packet is. */
export function kindOf(header: HeaderView, status: HeaderStatus): PacketKind {
  return status === HeaderStatus.UnknownVersion ? 'other_version' : kinds[header.type]
}
