/** A peer that writes whatever bytes a test wants, against one real session: for rules about bad input. */
import type { ConnectionEvent, StreamId } from '@quicether/transport'
import { varintLength, writeVarint } from '@quicether/wire'
import { encodeFrame } from '../frames.ts'
import { QpackEncoder } from '../qpack/encoder.ts'
import type { HeaderList } from '../headers.ts'
import { Http3Session, type Http3SessionOptions } from '../session.ts'
import { MemoryNetwork, type MemoryNetworkOptions, type MemoryTransport } from './memory-transport.ts'

export function varint(value: number): number[] {
  const bytes = new Uint8Array(varintLength(value))
  writeVarint(bytes, 0, value)
  return [...bytes]
}

/** A header section with the static table only. */
export function section(headers: HeaderList): Uint8Array {
  return new QpackEncoder({ maxTableCapacityBytes: 0, maxOutstandingSections: 0 }).encode(0, headers)
}

export function headersFrame(headers: HeaderList): number[] {
  return [...encodeFrame(0x01, section(headers))]
}

export function frame(type: number, payload: readonly number[] = []): number[] {
  return [...encodeFrame(type, Uint8Array.from(payload))]
}

export const emptySettings = frame(0x04)

export class RawPeer {
  readonly network: MemoryNetwork
  readonly session: Http3Session
  readonly raw: MemoryTransport
  /** Everything the transport told the raw side. */
  readonly events: ConnectionEvent[]
  readonly #received: Map<StreamId, number[]>

  constructor(
    role: 'client' | 'server',
    options: Omit<Http3SessionOptions, 'role' | 'transport'> = {},
    network: MemoryNetworkOptions = {},
  ) {
    this.network = new MemoryNetwork(network)
    const mine = role === 'client' ? this.network.client : this.network.server
    this.raw = role === 'client' ? this.network.server : this.network.client
    this.session = new Http3Session({ ...options, role, transport: mine })
    mine.onEvent = (event) => this.session.handleEvent(event)
    this.events = []
    this.#received = new Map()
    this.raw.onEvent = (event) => {
      this.events.push(event)
      if (event.kind !== 'readable') return
      const bytes = this.#received.get(event.id) ?? []
      this.#received.set(event.id, bytes)
      this.raw.read(event.id, (chunk) => bytes.push(...chunk))
    }
    this.session.start()
  }

  /** Opens a unidirectional stream of a type and writes to it. */
  openUni(type: number, bytes: readonly number[] = []): StreamId {
    const id = this.raw.openStream('unidirectional') as StreamId
    this.write(id, [...varint(type), ...bytes])
    return id
  }

  openBidi(bytes: readonly number[], options: { readonly fin?: boolean } = {}): StreamId {
    const id = this.raw.openStream('bidirectional') as StreamId
    this.raw.write(id, Uint8Array.from(bytes))
    if (options.fin === true) this.raw.finish(id)
    this.network.run()
    return id
  }

  write(id: StreamId, bytes: readonly number[]): void {
    this.raw.write(id, Uint8Array.from(bytes))
    this.network.run()
  }

  received(id: StreamId): Uint8Array {
    return Uint8Array.from(this.#received.get(id) ?? [])
  }

  /** Code with which the session closed the connection. */
  get closeCode(): number | undefined {
    const reason = this.raw.closeReason
    return reason?.kind === 'application' ? reason.code : undefined
  }

  /** Code with which the session reset a stream. */
  resetCode(id: StreamId): number | undefined {
    for (const event of this.events) if (event.kind === 'streamReset' && event.id === id) return event.code
    return undefined
  }

  /** Code with which the session stopped a stream. */
  stopCode(id: StreamId): number | undefined {
    for (const event of this.events) if (event.kind === 'streamStopped' && event.id === id) return event.code
    return undefined
  }
}
