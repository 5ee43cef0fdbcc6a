/** Decodes the QUIC packets of a capture, of all paths, as the bytes of the file come. */
import { HeaderStatus, HeaderView } from '@quicether/wire'
import { CidTable } from './cid-table.ts'
import { ConnectionDecoder, type Contents, kindOf } from './connection-decoder.ts'
import type { DecodedPacket, PacketKind } from './decoded-packet.ts'
import { KeyLogTable } from './key-log.ts'
import { type CapturedPacket, PcapngReader } from './pcapng-reader.ts'
import { findUdp, type UdpDatagram } from './udp-datagram.ts'

/** Connections remembered; the oldest go first and their packets become unknown. */
const CONNECTIONS_MAX = 20_000
/** Connections whose handshake is being read at the same time. */
const HANDSHAKES_MAX = 2_000
const FLOWS_MAX = 40_000

/** Counters of one file. */
export interface CaptureTotals {
  readonly captured: number
  /** Captured packets that are no UDP datagrams. */
  readonly otherProtocols: number
  readonly connections: number
  readonly packets: number
  readonly decrypted: number
  /** Lines of key logs that were usable. */
  readonly secrets: number
}

export interface CaptureDecoderOptions {
  readonly onPacket: (packet: DecodedPacket) => void
}

interface Flow {
  readonly connection: ConnectionDecoder
  readonly isToServer: boolean
}

const nothing: Contents = { packetNumber: undefined, generation: undefined, frames: undefined, problem: undefined }

/** Push the file through `push`, then call `end`; both throw `CaptureError` where the file is damaged. */
export class CaptureDecoder {
  readonly #onPacket: (packet: DecodedPacket) => void
  readonly #keyLog = new KeyLogTable()
  readonly #reader: PcapngReader
  readonly #cids = new CidTable<ConnectionDecoder>()
  /** By addresses, for peers whose connection IDs are empty. */
  readonly #flows = new Map<string, Flow>()
  readonly #live = new Set<ConnectionDecoder>()
  readonly #handshaking = new Set<ConnectionDecoder>()
  readonly #header = new HeaderView()
  #captured = 0
  #otherProtocols = 0
  #connections = 0
  #packets = 0
  #decrypted = 0

  constructor(options: CaptureDecoderOptions) {
    this.#onPacket = options.onPacket
    this.#reader = new PcapngReader({
      onPacket: (packet) => this.#onCaptured(packet),
      onSecrets: (text) => this.#keyLog.add(text),
    })
  }

  /** Secrets from a key log outside the capture; to be called before the packets they open. */
  addKeys(keylog: string): void {
    this.#keyLog.add(keylog)
  }

  push(chunk: Uint8Array): void {
    this.#reader.push(chunk)
  }

  end(): void {
    this.#reader.end()
  }

  totals(): CaptureTotals {
    return {
      captured: this.#captured,
      otherProtocols: this.#otherProtocols,
      connections: this.#connections,
      packets: this.#packets,
      decrypted: this.#decrypted,
      secrets: this.#keyLog.linesUsed,
    }
  }

  #onCaptured(packet: CapturedPacket): void {
    this.#captured++
    const datagram = findUdp(packet.linkType, packet.bytes)
    if (datagram === undefined) {
      this.#otherProtocols++
      return
    }
    // RFC 9000 §12.2: several packets in one datagram, of one connection
    for (let at = datagram.start; at < datagram.end; ) at = this.#onQuic(packet, datagram, at)
  }

  /** Reads the QUIC packet at `at`; returns where the next one may begin. */
  #onQuic(packet: CapturedPacket, datagram: UdpDatagram, at: number): number {
    const { bytes, timeUs } = packet
    const { from, to, end } = datagram
    const header = this.#header
    const isShort = ((bytes[at] as number) & 0x80) === 0
    const short = isShort ? this.#cids.findShort(bytes, at + 1, end) : undefined
    const flow = isShort && short === undefined ? this.#flows.get(`${from} ${to}`) : undefined
    const status = header.parse(bytes, at, end, short?.length ?? 0)
    const found = isShort ? (short?.entry ?? flow) : undefined
    const connection = this.#alive(short?.entry.owner ?? flow?.connection)
    const said = { frame: this.#captured, timeUs, from, to }
    if (isShort) {
      const isToServer = found?.isToServer ?? false
      const pathId = short?.entry.pathId ?? 0
      const place = { bytes, start: at, end, isToServer, pathId }
      const contents = this.#open(connection, datagram, () => connection?.open(header, place))
      this.#report(
        said,
        connection,
        isToServer,
        connection === undefined ? 'unknown' : '1RTT',
        pathId,
        end - at,
        contents,
      )
      return end
    }
    return this.#onLong(said, packet.bytes, datagram, at, status)
  }

  #onLong(
    said: Pick<DecodedPacket, 'frame' | 'timeUs' | 'from' | 'to'>,
    bytes: Uint8Array,
    datagram: UdpDatagram,
    at: number,
    status: HeaderStatus,
  ): number {
    const header = this.#header
    if (status === HeaderStatus.Malformed) {
      const problem = datagram.isCut ? 'cut by the capture' : 'malformed'
      this.#report(said, undefined, false, 'unknown', 0, datagram.end - at, { ...nothing, problem })
      return datagram.end
    }
    const kind = kindOf(header, status)
    const { connection, isToServer } = this.#owner(bytes, datagram, kind)
    const end = at + header.packetLength
    const hasPayload = kind === 'initial' || kind === '0RTT' || kind === 'handshake'
    const place = { bytes, start: at, end, isToServer, pathId: 0 }
    const contents = hasPayload ? this.#open(connection, datagram, () => connection?.open(header, place)) : nothing
    this.#report(said, connection, isToServer, kind, 0, end - at, contents)
    if (connection !== undefined) this.#learn(connection, bytes, kind, isToServer)
    return end
  }

  #open(connection: ConnectionDecoder | undefined, datagram: UdpDatagram, open: () => Contents | undefined): Contents {
    if (connection === undefined) return { ...nothing, problem: 'unknown connection ID' }
    const contents = open()
    if (connection.isHandshakeRead) this.#handshaking.delete(connection)
    const isHopeless = contents?.problem === 'not decrypted' && datagram.isCut
    return isHopeless ? { ...nothing, problem: 'cut by the capture' } : (contents ?? nothing)
  }

  /** The connection of a long header, made when a client's Initial begins one. */
  #owner(
    bytes: Uint8Array,
    { from, to }: UdpDatagram,
    kind: PacketKind,
  ): { connection: ConnectionDecoder | undefined; isToServer: boolean } {
    const { dcidOffset, dcidLength, scidOffset, scidLength, version } = this.#header
    const entry = this.#cids.find(bytes, dcidOffset, dcidLength)
    if (entry !== undefined && this.#live.has(entry.owner))
      return { connection: entry.owner, isToServer: entry.isToServer }
    const flow = this.#flows.get(`${from} ${to}`)
    if (dcidLength === 0 && this.#alive(flow?.connection) !== undefined && flow !== undefined) return flow
    // RFC 9000 §7.2: the client's first ID for the server has 8 bytes or more
    if ((kind !== 'initial' && kind !== '0RTT') || dcidLength < 8) return { connection: undefined, isToServer: false }
    const dcid = bytes.slice(dcidOffset, dcidOffset + dcidLength)
    const connection = this.#begin({ version, dcid, clientCidLength: scidLength })
    this.#cids.add(dcid, { owner: connection, isToServer: true, pathId: 0 })
    this.#cids.add(bytes.slice(scidOffset, scidOffset + scidLength), {
      owner: connection,
      isToServer: false,
      pathId: 0,
    })
    return { connection, isToServer: true }
  }

  #begin(first: { version: number; dcid: Uint8Array; clientCidLength: number }): ConnectionDecoder {
    this.#connections++
    const connection: ConnectionDecoder = new ConnectionDecoder(
      this.#connections,
      first,
      this.#keyLog,
      (cid, isToServer, pathId) => this.#cids.add(cid, { owner: connection, isToServer, pathId }),
    )
    this.#live.add(connection)
    this.#handshaking.add(connection)
    oldestBeyond(this.#handshaking, HANDSHAKES_MAX)?.giveUpHandshake()
    oldestBeyond(this.#live, CONNECTIONS_MAX)?.giveUpHandshake()
    return connection
  }

  /** The connection of an entry, unless it was forgotten. */
  #alive(connection: ConnectionDecoder | undefined): ConnectionDecoder | undefined {
    return connection !== undefined && this.#live.has(connection) ? connection : undefined
  }

  /** Connection IDs that long headers show. */
  #learn(connection: ConnectionDecoder, bytes: Uint8Array, kind: PacketKind, isToServer: boolean): void {
    const { scidOffset, scidLength } = this.#header
    if (isToServer || kind === 'version_negotiation' || kind === 'other_version') return
    const serverCid = bytes.slice(scidOffset, scidOffset + scidLength)
    this.#cids.add(serverCid, { owner: connection, isToServer: true, pathId: 0 })
    if (kind === 'retry') connection.onRetry(serverCid)
  }

  #report(
    said: Pick<DecodedPacket, 'frame' | 'timeUs' | 'from' | 'to'>,
    connection: ConnectionDecoder | undefined,
    isToServer: boolean,
    kind: PacketKind,
    path: number,
    length: number,
    contents: Contents,
  ): void {
    this.#packets++
    if (contents.frames !== undefined) this.#decrypted++
    if (connection !== undefined && connection.clientCidLength === 0) this.#noteFlow(said, connection, isToServer)
    this.#onPacket({
      ...said,
      connection: connection?.number,
      sender: connection === undefined ? undefined : isToServer ? 'client' : 'server',
      kind,
      version: kind === '1RTT' || kind === 'unknown' ? undefined : this.#header.version,
      path: connection === undefined ? undefined : path,
      packetNumber: contents.packetNumber,
      generation: contents.generation,
      length,
      frames: contents.frames,
      problem: contents.problem,
    })
  }

  /** Where the client was seen, answers to it come back. */
  #noteFlow({ from, to }: { from: string; to: string }, connection: ConnectionDecoder, isToServer: boolean): void {
    if (!isToServer) return
    this.#flows.set(`${to} ${from}`, { connection, isToServer: false })
    if (this.#flows.size <= FLOWS_MAX) return
    const [oldest] = this.#flows.keys()
    if (oldest !== undefined) this.#flows.delete(oldest)
  }
}

/** Takes the oldest member out of a set that has more than `max`. */
function oldestBeyond<T>(set: Set<T>, max: number): T | undefined {
  if (set.size <= max) return undefined
  const [oldest] = set
  if (oldest !== undefined) set.delete(oldest)
  return oldest
}
