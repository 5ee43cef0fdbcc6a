/** A client of HTTP/3 that sends whatever bytes a test wants, over a real connection. */
import { connect, type QuicConnection, type QuicStream, QuicStreamError } from '@quicether/net'
import { h3ErrorName } from '@quicether/http3'
import { encodeFrame } from '../../packages/http3/src/frames.ts'
import { QpackDecoder } from '../../packages/http3/src/qpack/decoder.ts'
import { QpackEncoder } from '../../packages/http3/src/qpack/encoder.ts'
import { Reader } from '@quicether/wire'

export type Lines = readonly (readonly [string, string])[]

/** What became of a request: its status, or the code of its reset, or the end of the connection. */
export type Outcome = number | string

const headersFrameType = 0x01
const dataFrameType = 0x00

export class HostileClient {
  readonly connection: QuicConnection

  constructor(connection: QuicConnection) {
    this.connection = connection
  }

  /** Connects and says nothing, not even SETTINGS. */
  static async open(port: number, caPem: string): Promise<HostileClient> {
    const ca = [{ pem: caPem, label: 'test' }]
    return new HostileClient(
      await connect({ host: '127.0.0.1', port, alpn: ['h3'], serverName: 'localhost', ca, handshakeTimeoutMs: 60_000 }),
    )
  }

  /** A unidirectional stream that begins with `bytes`. */
  async uni(...bytes: number[]): Promise<QuicStream> {
    const stream = await this.connection.openStream({ kind: 'unidirectional' })
    await stream.write(Uint8Array.from(bytes))
    return stream
  }

  async request(): Promise<QuicStream> {
    return await this.connection.openStream({ kind: 'bidirectional' })
  }

  /** Sends field lines as they are, then a body, and waits for what comes of it. */
  async ask(lines: Lines, body?: Uint8Array): Promise<Outcome> {
    const stream = await this.request()
    const sent = [headersOf(lines)]
    if (body !== undefined) sent.push(encodeFrame(dataFrameType, body))
    stream.end(Buffer.concat(sent))
    return await outcomeOf(stream)
  }

  close(): Promise<unknown> {
    return this.connection.close(0x100, '')
  }
}

/** A HEADERS frame with these field lines, unchecked. */
export function headersOf(lines: Lines): Uint8Array {
  return encodeFrame(headersFrameType, section(lines))
}

/** A field section that needs no dynamic table. */
export function section(lines: Lines): Uint8Array {
  return new QpackEncoder({ maxTableCapacityBytes: 0, maxOutstandingSections: 0 }).encode(0, lines)
}

/** The status of the response on a stream, or the code that it was reset with. */
export async function outcomeOf(stream: QuicStream): Promise<Outcome> {
  try {
    return statusOf(await stream.bytes())
  } catch (error) {
    if (!(error instanceof QuicStreamError)) throw error
    return error.applicationCode === undefined ? `${error.code}` : h3ErrorName(error.applicationCode)
  }
}

/** Status of the final response in the bytes of a stream. */
function statusOf(bytes: Uint8Array): number | string {
  const reader = new Reader(bytes)
  while (reader.remaining > 0) {
    const type = reader.varint()
    const length = reader.varint()
    const start = reader.offset
    reader.skip(length)
    const payload = bytes.subarray(start, start + length)
    if (type !== headersFrameType) continue
    const decoder = new QpackDecoder({ maxTableCapacityBytes: 0, maxBlockedStreams: 0, maxFieldSectionBytes: 65_536 })
    const status = decoder.decode(0, payload, 0, payload.length)?.find(([name]) => name === ':status')?.[1]
    if (status !== undefined && Number(status) >= 200) return Number(status)
  }
  return 'no response'
}
