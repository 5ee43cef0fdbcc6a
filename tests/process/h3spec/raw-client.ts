/** A QUIC client without an engine: real TLS and packet protection, every frame and bit as the test wants it. */
import { createSocket, type Socket } from 'node:dgram'
import { randomBytes } from 'node:crypto'
import { createClientContext, createNativeCrypto, type NativeClientContext } from '@quicether/native'
import { DESCRIPTOR_WORDS, type KeyPair, Level, OpenIn, OpenOut, Seal, type TlsSession } from '@quicether/transport'
import {
  decodeFrames,
  defaultTransportParameters,
  encodeTransportParameters,
  type FrameSink,
  HeaderStatus,
  HeaderView,
  PacketType,
  patchLongHeaderLength,
  TransportError,
  writeLongHeader,
  writePacketNumber,
  writeShortHeader,
} from '@quicether/wire'
import { frame } from './bytes.ts'

/** What the client does otherwise than an honest one. */
export interface Deviation {
  readonly alpn?: string
  readonly parameters?: (encoded: Uint8Array) => Uint8Array
  readonly clientHello?: (message: Uint8Array) => Uint8Array
  /** TLS messages before Finished. */
  readonly handshakeMessages?: Uint8Array
  /** Frames beside Finished. */
  readonly handshakeFrames?: Uint8Array
  /** Bits set in the first byte of Handshake packets. */
  readonly handshakeBits?: number
  /** Payload of a 1-RTT packet once the handshake is confirmed. */
  readonly oneRtt?: Uint8Array
  readonly oneRttBits?: number
  /** Payload of a 0-RTT packet of a second connection. */
  readonly zeroRtt?: Uint8Array
}

/** How the server objected: the code, and to what. */
export interface Objection {
  readonly kind: 'connection' | 'application' | 'stream'
  readonly code: number
}

const TAG_BYTES = 16
const PN_BYTES = 4
const CID_BYTES = 8
const DATAGRAM_BYTES = 1_200
const SLAB_BYTES = 4_096
/** A datagram may be lost on a busy machine: what was said is said again, in a new packet. */
const AGAIN_MS = 1_000
const LIMIT_MS = 60_000

const levelOfType: Readonly<Partial<Record<PacketType, Level>>> = {
  [PacketType.Initial]: Level.Initial,
  [PacketType.Handshake]: Level.Handshake,
  [PacketType.OneRtt]: Level.OneRtt,
}

/** TLS settings that several connections share, so that the second can send 0-RTT. */
export function clientContext(): NativeClientContext {
  return createClientContext({ trust: { kind: 'insecure' } })
}

/** Connects to 127.0.0.1:`port`, deviates, and resolves with the server's objection. Rejects when there is none. */
export async function objectionTo(port: number, deviation: Deviation): Promise<Objection> {
  const context = clientContext()
  try {
    if (deviation.zeroRtt !== undefined) {
      const honest = new RawClient(port, context, {}, false)
      try {
        await honest.until('a session ticket', () => honest.ticketBytes > 0)
      } finally {
        honest.close()
      }
    }
    const client = new RawClient(port, context, deviation, deviation.zeroRtt !== undefined)
    try {
      await client.until('an objection', () => client.objection !== undefined)
      return client.objection as Objection
    } finally {
      client.close()
    }
  } finally {
    context.close()
  }
}

class RawClient {
  objection: Objection | undefined
  /** Of CRYPTO frames in 1-RTT packets. */
  ticketBytes = 0
  readonly #deviation: Deviation
  readonly #socket: Socket
  readonly #port: number
  readonly #crypto = createNativeCrypto()
  readonly #tls: TlsSession
  readonly #scid: Uint8Array = randomBytes(CID_BYTES)
  #dcid: Uint8Array = randomBytes(CID_BYTES)
  readonly #keys: (KeyPair | undefined)[] = []
  readonly #spaces: number[]
  readonly #next = [0, 0, 0, 0]
  readonly #cryptoSent = [0, 0, 0, 0]
  readonly #cryptoRead = [0, 0, 0, 0]
  /** CRYPTO data of each level that came before what it follows. */
  readonly #early: Map<number, Uint8Array>[] = [new Map(), new Map(), new Map(), new Map()]
  readonly #said: (() => void)[] = []
  #isConfirmed = false
  #hasServerCid = false
  #wake: () => void = () => undefined

  constructor(port: number, context: NativeClientContext, deviation: Deviation, earlyData: boolean) {
    this.#port = port
    this.#deviation = deviation
    this.#spaces = [0, 1, 2, 3].map(() => this.#crypto.createSpace())
    this.#keys[Level.Initial] = this.#crypto.initialKeys(1, this.#dcid, 'client')
    const honest = encodeTransportParameters({
      ...defaultTransportParameters(),
      maxIdleTimeoutMs: LIMIT_MS,
      initialMaxData: 1_000_000,
      initialMaxStreamDataBidiLocal: 100_000,
      initialMaxStreamDataBidiRemote: 100_000,
      initialMaxStreamDataUni: 100_000,
      initialMaxStreamsBidi: 10,
      initialMaxStreamsUni: 10,
      initialSourceCid: this.#scid,
    })
    this.#tls = context.createSession({
      version: 1,
      serverName: 'localhost',
      alpn: [deviation.alpn ?? 'h3'],
      transportParameters: deviation.parameters?.(honest) ?? honest,
      earlyData,
    })
    this.#socket = createSocket('udp4')
    this.#socket.on('message', (datagram) => {
      this.#onDatagram(datagram)
      this.#wake()
    })
    this.#socket.on('error', () => undefined) // the server may be gone at the end
    this.#socket.bind(0, '127.0.0.1', () => this.#pump())
  }

  /** Says everything again now and then until `isSo`. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const deadline = performance.now() + LIMIT_MS
    while (!isSo()) {
      if (performance.now() > deadline) throw new Error(`the server gave no sign of ${what} within ${LIMIT_MS} ms`)
      const wasWoken = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), AGAIN_MS)
        this.#wake = () => {
          clearTimeout(timer)
          resolve(true)
        }
      })
      if (!wasWoken) for (const say of this.#said) say()
    }
  }

  close(): void {
    this.#socket.close()
    this.#tls.close()
    for (const keys of this.#keys) {
      if (keys === undefined) continue
      this.#crypto.closeKey(keys.rx)
      this.#crypto.closeKey(keys.tx)
    }
    for (const space of this.#spaces) this.#crypto.closeSpace(space)
    this.#crypto.close()
  }

  // ---- out

  /** What TLS wants to send or install. */
  #pump(): void {
    for (let step = this.#tls.next(); step !== undefined; step = this.#tls.next()) {
      if (step.kind === 'keys') {
        this.#keys[step.level] = step.keys
        const { zeroRtt } = this.#deviation
        if (step.level === Level.ZeroRtt && zeroRtt !== undefined) this.#say(Level.ZeroRtt, zeroRtt, 0)
      } else if (step.level === Level.Initial) {
        const message = this.#deviation.clientHello?.(step.data) ?? step.data
        this.#say(Level.Initial, this.#cryptoFrame(Level.Initial, message), 0)
      } else this.#sayFinished(step.level, step.data)
    }
  }

  #sayFinished(level: Level, finished: Uint8Array): void {
    const { handshakeMessages, handshakeFrames = new Uint8Array(0), handshakeBits = 0 } = this.#deviation
    const messages = frame(handshakeMessages ?? new Uint8Array(0), finished)
    this.#say(level, frame(handshakeFrames, this.#cryptoFrame(level, messages)), handshakeBits)
  }

  #cryptoFrame(level: Level, data: Uint8Array): Uint8Array {
    const offset = this.#cryptoSent[level] as number
    this.#cryptoSent[level] = offset + data.length
    return frame(0x06, offset, data.length, data)
  }

  /** Sends a packet, now and again in `until`. */
  #say(level: Level, payload: Uint8Array, bits: number): void {
    const say = (): void => this.#send(this.#packet(level, payload, bits))
    this.#said.push(say)
    say()
  }

  #send(datagram: Uint8Array): void {
    this.#socket.send(datagram, this.#port, '127.0.0.1')
  }

  #packet(level: Level, frames: Uint8Array, bits: number): Uint8Array {
    const keys = this.#keys[level]
    if (keys === undefined) throw new Error(`no keys of level ${level}`)
    const space = level === Level.ZeroRtt ? Level.OneRtt : level
    const number = this.#next[space] as number
    this.#next[space] = number + 1
    const slab = new Uint8Array(SLAB_BYTES)
    const pnAt = this.#header(slab, level)
    slab[0] = (slab[0] as number) | bits
    const payloadAt = writePacketNumber(slab, pnAt, number, PN_BYTES)
    slab.set(frames, payloadAt)
    let length = payloadAt + frames.length + TAG_BYTES
    // RFC 9000 §14.1: "A client MUST expand the payload of all UDP datagrams carrying Initial packets"
    if (level === Level.Initial) length = Math.max(length, DATAGRAM_BYTES)
    if (level !== Level.OneRtt) patchLongHeaderLength(slab, pnAt, length - pnAt)
    const words = new Int32Array(DESCRIPTOR_WORDS)
    words[Seal.HeaderLength] = payloadAt
    words[Seal.Length] = length
    words[Seal.PnLow] = number
    words[Seal.KeyId] = keys.tx
    words[Seal.PnLength] = PN_BYTES
    this.#crypto.seal(slab, words, 1)
    return slab.slice(0, length)
  }

  #header(slab: Uint8Array, level: Level): number {
    if (level === Level.OneRtt) return writeShortHeader(slab, 0, this.#dcid, PN_BYTES, 0, 1, 0)
    const type = [PacketType.Initial, PacketType.ZeroRtt, PacketType.Handshake][level] as PacketType
    const fields = { type, version: 1, dcid: this.#dcid, scid: this.#scid, token: new Uint8Array(0) }
    return writeLongHeader(slab, 0, fields, PN_BYTES, 1)
  }

  // ---- in

  #onDatagram(datagram: Uint8Array): void {
    const view = new HeaderView()
    for (let at = 0; at < datagram.length; at += view.packetLength) {
      if (view.parse(datagram, at, datagram.length, CID_BYTES) !== HeaderStatus.Ok) return
      const level = levelOfType[view.type]
      if (level === undefined) return
      if (level === Level.Initial && !this.#hasServerCid) {
        this.#hasServerCid = true
        this.#dcid = datagram.slice(view.scidOffset, view.scidOffset + view.scidLength)
      }
      this.#openPacket(datagram, at, view, level)
    }
  }

  #openPacket(datagram: Uint8Array, at: number, view: HeaderView, level: Level): void {
    const keys = this.#keys[level]
    if (keys === undefined) return
    const words = new Int32Array(DESCRIPTOR_WORDS)
    words[OpenIn.Offset] = at
    words[OpenIn.Length] = view.packetLength
    words[OpenIn.PnOffset] = view.pnOffset
    words[OpenIn.KeyId] = keys.rx
    words[OpenIn.Space] = this.#spaces[level] as number
    this.#crypto.open(datagram, words, 1)
    const length = words[OpenOut.PayloadLength] as number
    if (length < 0) return
    const start = words[OpenOut.PayloadOffset] as number
    try {
      decodeFrames(datagram, start, start + length, level, false, this.#sink(datagram, level))
    } catch (error) {
      // A frame of an extension that we have not offered would be the server's fault, not ours to judge here.
      if (!(error instanceof TransportError)) throw error
    }
    if (level !== Level.OneRtt) this.#pump()
  }

  #sink(bytes: Uint8Array, level: Level): FrameSink {
    return {
      ...ignoring,
      onCrypto: (offset, start, end) => this.#onCrypto(level, offset, bytes.slice(start, end)),
      onHandshakeDone: () => this.#onConfirmed(),
      onConnectionClose: (application, code) => {
        this.objection ??= { kind: application ? 'application' : 'connection', code }
      },
      onResetStream: (_id, code) => this.#onStreamRefused(code),
      onStopSending: (_id, code) => this.#onStreamRefused(code),
    }
  }

  #onStreamRefused(code: number): void {
    this.objection ??= { kind: 'stream', code }
  }

  #onCrypto(level: Level, offset: number, data: Uint8Array): void {
    if (level === Level.OneRtt) this.ticketBytes += data.length
    const early = this.#early[level] as Map<number, Uint8Array>
    early.set(offset, data)
    for (let next = early.get(this.#cryptoRead[level] as number); next !== undefined; ) {
      early.delete(this.#cryptoRead[level] as number)
      this.#cryptoRead[level] = (this.#cryptoRead[level] as number) + next.length
      this.#tls.read(level, next)
      next = next.length === 0 ? undefined : early.get(this.#cryptoRead[level] as number)
    }
  }

  #onConfirmed(): void {
    if (this.#isConfirmed) return
    this.#isConfirmed = true
    const { oneRtt, oneRttBits = 0 } = this.#deviation
    this.#said.length = 0
    if (oneRtt !== undefined) this.#say(Level.OneRtt, oneRtt, oneRttBits)
  }
}

const nothing = (): void => undefined
const ignoring: FrameSink = {
  onPadding: nothing,
  onPing: nothing,
  onAck: nothing,
  onResetStream: nothing,
  onStopSending: nothing,
  onCrypto: nothing,
  onNewToken: nothing,
  onStream: nothing,
  onMaxData: nothing,
  onMaxStreamData: nothing,
  onMaxStreams: nothing,
  onDataBlocked: nothing,
  onStreamDataBlocked: nothing,
  onStreamsBlocked: nothing,
  onNewConnectionId: nothing,
  onRetireConnectionId: nothing,
  onPathChallenge: nothing,
  onPathResponse: nothing,
  onConnectionClose: nothing,
  onHandshakeDone: nothing,
  onDatagram: nothing,
  onPathAbandon: nothing,
  onPathStatus: nothing,
  onMaxPathId: nothing,
  onPathsBlocked: nothing,
  onPathCidsBlocked: nothing,
  onAdditionalAddresses: nothing,
}
