/** A `Pair` with several paths whose packets are read as they leave: which path, to which connection ID, with what. */
import { AckView, type FrameSink, decodeFrames } from '@quicether/wire'
import type { TransportConfig } from '../config.ts'
import type { ConnectionObserver, PacketInfo } from '../observe.ts'
import { Level } from '../ports/crypto.ts'
import type { PathTuple } from '../ports/datagrams.ts'
import { Pair, type PairOptions, clientTuple } from './pair.ts'

const TAG_BYTES = 16
const CID_BYTES = 8

/** One frame: the name of the sink's method without `on`, and its numbers; of an ACK path ID (-1 = ACK) and largest. */
export interface SeenFrame {
  readonly name: string
  readonly numbers: readonly number[]
}

/** One packet as it left. */
export interface SeenPacket {
  readonly role: 'client' | 'server'
  readonly level: Level
  readonly pathId: number
  readonly packetNumber: number
  readonly length: number
  readonly keyPhase: number
  readonly atUs: number
  /** Connection ID of a 1-RTT packet, in hex. */
  readonly dcid: string
  readonly frames: readonly SeenFrame[]
}

export interface PathPair {
  readonly pair: Pair
  /** Every packet, in the order of leaving. */
  readonly seen: SeenPacket[]
  /** Connection IDs in hex that a side has issued, with their path ID. */
  readonly issued: Readonly<Record<'client' | 'server', Map<string, number>>>
}

export const secondTuple: PathTuple = clientTuple(41_000, '10.7.7.7')
export const thirdTuple: PathTuple = clientTuple(42_000, '10.8.8.8')

/** Client address of a datagram: what tells paths apart on the wire of a `Pair`. */
export function clientAddressOf(datagram: { readonly from: string; readonly tuple: PathTuple }): string {
  return datagram.from === 'client' ? datagram.tuple.localAddress : datagram.tuple.remoteAddress
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function numbersOf(args: readonly unknown[]): number[] {
  const [first] = args
  if (first instanceof AckView) return [first.pathId, first.largest[0] as number]
  return args.map(Number)
}

/** Decodes a payload; RFC 10069's frames are allowed. */
export function framesOf(bytes: Uint8Array, start: number, end: number, level: number): SeenFrame[] {
  const frames: SeenFrame[] = []
  const sink = new Proxy({} as FrameSink, {
    get:
      (_target, name: string) =>
      (...args: readonly unknown[]) => {
        if (name !== 'onPadding') frames.push({ name: name.slice(2), numbers: numbersOf(args) })
      },
  })
  decodeFrames(bytes, start, end, level, true, sink)
  return frames
}

/** Both sides allow four paths unless told otherwise; the handshake is not done yet. */
export function pathPair(options: PairOptions = {}): PathPair {
  const multipath: Partial<TransportConfig> = { maxPaths: 4 }
  const seen: SeenPacket[] = []
  const issued = { client: new Map<string, number>(), server: new Map<string, number>() }
  const observer = (role: 'client' | 'server'): ConnectionObserver => ({
    connectionStarted() {},
    packetSent(packet: PacketInfo, bytes: Uint8Array, start: number, end: number, atUs: number) {
      const { level, pathId, packetNumber, length, keyPhase } = packet
      const frames = framesOf(bytes, start, end, level)
      for (const { name, numbers } of frames) {
        if (name !== 'NewConnectionId') continue
        const at = numbers[4] as number
        issued[role].set(hex(bytes.subarray(at, at + CID_BYTES)), numbers[0] as number)
      }
      const header = end + TAG_BYTES - length
      const dcid = level === Level.OneRtt ? hex(bytes.subarray(header + 1, header + 1 + CID_BYTES)) : ''
      seen.push({ role, level, pathId, packetNumber, length, keyPhase, atUs, dcid, frames })
    },
    packetReceived() {},
    packetDropped() {},
    packetLost() {},
    metricsUpdated() {},
    event() {},
  })
  const pair = new Pair({
    ...options,
    client: { ...multipath, ...options.client },
    server: { ...multipath, ...options.server },
    observe: ({ role }) => observer(role),
  })
  return { pair, seen, issued }
}

/** The same, with the handshake done and connection IDs of further paths exchanged. */
export function joinedPair(options: PairOptions = {}): PathPair {
  const made = pathPair(options)
  made.pair.handshake()
  made.pair.advance(100_000)
  return made
}

/** Opens a path and waits until both sides have validated it. */
export function openPath(pair: Pair, tuple: PathTuple = secondTuple): number {
  const id = pair.connection.openPath(tuple, {}, pair.nowUs)
  if (id === undefined) throw new Error('no path ID or connection ID is left')
  const isValid = (views: readonly { readonly id: number; readonly isValidated: boolean }[]): boolean =>
    views.some((view) => view.id === id && view.isValidated)
  pair.run(() => isValid(pair.connection.paths()) && isValid(pair.accepted?.paths() ?? []))
  return id
}

/** Packets with a frame `name`, optionally of one side. */
export function withFrame(seen: readonly SeenPacket[], name: string, role?: 'client' | 'server'): SeenPacket[] {
  return seen.filter(
    (packet) => (role === undefined || packet.role === role) && packet.frames.some((frame) => frame.name === name),
  )
}
