/** What a peer may not say in an established connection: each rule is broken over the wire, and answered by its error. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameType } from '@quicether/wire'
import type { TransportConfig } from '../config.ts'
import { Level } from '../ports/crypto.ts'
import { forgedPair, frameBytes } from '../testing/index.ts'

const BYTE = new Uint8Array([7])
/** STREAM with offset and length. */
const STREAM = FrameType.Stream | 0x06
const FIN = 1
const TOKEN = new Uint8Array(16).fill(9)
const EIGHT = new Uint8Array(8).fill(0xc5)
/** 2^62 - 1 and 2^60 + 1, which no double holds. */
const HUGE = new Uint8Array(8).fill(0xff)
const ABOVE_2_60 = Uint8Array.of(0xd0, 0, 0, 0, 0, 0, 0, 1)

interface Case {
  readonly what: string
  readonly frames: Uint8Array
  readonly error: string
  readonly because: RegExp
}

const small: Partial<TransportConfig> = { streamWindowBytes: 2_000, connectionWindowBytes: 3_000 }

function check(from: 'client' | 'server', cases: readonly Case[]): void {
  for (const { what, frames, error, because } of cases) {
    test(`${what} from a ${from} is ${error}`, () => {
      const forged = forgedPair(from, { client: small, server: small })
      forged.pair.handshake()
      forged.pair.advance(200_000)
      forged.send(Level.OneRtt, frames)
      const { name, reason } = forged.verdict()
      assert.equal(name, error)
      assert.match(reason, because)
    })
  }
}

// spec: RFC 9000 §4.1#2, §4.6#3, §19.8#1, §19.9#2, §19.10#4, §19.11#4, §4.5#1
check('client', [
  {
    what: 'more stream data than the stream window',
    frames: frameBytes(STREAM, 0, 2_000, 1, BYTE),
    error: 'FLOW_CONTROL_ERROR',
    because: /stream 0: 2001 bytes received, limit 2000/,
  },
  {
    what: 'more data than the connection window',
    frames: frameBytes(STREAM, 0, 1_999, 1, BYTE, STREAM, 4, 1_000, 1, BYTE),
    error: 'FLOW_CONTROL_ERROR',
    because: /3001 bytes received, limit 3000/,
  },
  {
    what: 'a reset with a final size beyond the stream window',
    frames: frameBytes(FrameType.ResetStream, 0, 0, 2_001),
    error: 'FLOW_CONTROL_ERROR',
    because: /limit 2000/,
  },
  {
    what: 'a stream beyond the limit',
    frames: frameBytes(STREAM, 4 * 128, 0, 1, BYTE),
    error: 'STREAM_LIMIT_ERROR',
    because: /beyond the limit of 128/,
  },
  {
    what: 'a unidirectional stream beyond the limit',
    frames: frameBytes(STREAM, 4 * 128 + 2, 0, 1, BYTE),
    error: 'STREAM_LIMIT_ERROR',
    because: /beyond the limit of 128/,
  },
])

// spec: RFC 9000 §19.4, §19.5, §19.8#1, §19.10#1, §19.10#2, §19.13
check('client', [
  {
    what: 'data on a stream that the server never opened',
    frames: frameBytes(STREAM, 1, 0, 1, BYTE),
    error: 'STREAM_STATE_ERROR',
    because: /stream 1 was not opened/,
  },
  {
    what: 'data on a send-only stream of the server',
    frames: frameBytes(STREAM, 3, 0, 1, BYTE),
    error: 'STREAM_STATE_ERROR',
    because: /stream 3 only sends/,
  },
  {
    what: 'RESET_STREAM of a send-only stream',
    frames: frameBytes(FrameType.ResetStream, 3, 0, 0),
    error: 'STREAM_STATE_ERROR',
    because: /stream 3 only sends/,
  },
  {
    what: 'STREAM_DATA_BLOCKED of a send-only stream',
    frames: frameBytes(FrameType.StreamDataBlocked, 3, 0),
    error: 'STREAM_STATE_ERROR',
    because: /stream 3 only sends/,
  },
  {
    what: 'STOP_SENDING of a receive-only stream',
    frames: frameBytes(FrameType.StopSending, 2, 0),
    error: 'STREAM_STATE_ERROR',
    because: /STOP_SENDING for stream 2/,
  },
  {
    what: 'STOP_SENDING of a stream not yet created',
    frames: frameBytes(FrameType.StopSending, 1, 0),
    error: 'STREAM_STATE_ERROR',
    because: /stream 1 was not opened/,
  },
  {
    what: 'MAX_STREAM_DATA of a receive-only stream',
    frames: frameBytes(FrameType.MaxStreamData, 2, 9),
    error: 'STREAM_STATE_ERROR',
    because: /MAX_STREAM_DATA for stream 2/,
  },
  {
    what: 'MAX_STREAM_DATA of a stream not yet created',
    frames: frameBytes(FrameType.MaxStreamData, 1, 9),
    error: 'STREAM_STATE_ERROR',
    because: /stream 1 was not opened/,
  },
])

// spec: RFC 9000 §4.5
check('client', [
  {
    what: 'data beyond the end of its stream',
    frames: frameBytes(STREAM | FIN, 0, 10, 1, BYTE, STREAM, 0, 11, 1, BYTE),
    error: 'FINAL_SIZE_ERROR',
    because: /ends at 12, final size is 11/,
  },
  {
    what: 'an end before data already sent',
    frames: frameBytes(STREAM, 0, 10, 1, BYTE, STREAM | FIN, 0, 4, 1, BYTE),
    error: 'FINAL_SIZE_ERROR',
    because: /final size 5 below data received/,
  },
  {
    what: 'a second, other end',
    frames: frameBytes(STREAM | FIN, 0, 10, 1, BYTE, STREAM | FIN, 0, 0, 1, BYTE),
    error: 'FINAL_SIZE_ERROR',
    because: /final size is 11/,
  },
  {
    what: 'a reset with another final size',
    frames: frameBytes(STREAM | FIN, 0, 10, 1, BYTE, FrameType.ResetStream, 0, 0, 12),
    error: 'FINAL_SIZE_ERROR',
    because: /final size is 11/,
  },
])

// spec: RFC 9000 §12.4#2, §12.4#4, §19.6, §19.8#2, §19.11#1, §19.14, §19.15#1, §19.15#6, §19.3.1
check('client', [
  {
    what: 'a frame of unknown type',
    frames: frameBytes(0x21),
    error: 'FRAME_ENCODING_ERROR',
    because: /unknown frame type 0x21/,
  },
  {
    what: 'a STREAM frame that ends inside a number',
    frames: frameBytes(STREAM, 0, Uint8Array.of(0xc0)),
    error: 'FRAME_ENCODING_ERROR',
    because: /./,
  },
  {
    what: 'a STREAM frame longer than its packet',
    frames: frameBytes(STREAM, 0, 0, 2_000, BYTE),
    error: 'FRAME_ENCODING_ERROR',
    because: /./,
  },
  {
    what: 'a stream offset beyond 2^62',
    frames: frameBytes(STREAM, 0, HUGE, 1, BYTE),
    error: 'FRAME_ENCODING_ERROR',
    because: /offset too large/,
  },
  {
    what: 'a CRYPTO offset beyond 2^62',
    frames: frameBytes(FrameType.Crypto, HUGE, 1, BYTE),
    error: 'FRAME_ENCODING_ERROR',
    because: /offset too large/,
  },
  {
    what: 'MAX_STREAMS above 2^60',
    frames: frameBytes(FrameType.MaxStreamsBidi, ABOVE_2_60),
    error: 'FRAME_ENCODING_ERROR',
    because: /above 2\^60/,
  },
  {
    what: 'STREAMS_BLOCKED above 2^60',
    frames: frameBytes(FrameType.StreamsBlockedUni, ABOVE_2_60),
    error: 'FRAME_ENCODING_ERROR',
    because: /above 2\^60/,
  },
  {
    what: 'a connection ID of no bytes',
    frames: frameBytes(FrameType.NewConnectionId, 99, 0, Uint8Array.of(0), TOKEN),
    error: 'FRAME_ENCODING_ERROR',
    because: /connection ID of 0 bytes/,
  },
  {
    what: 'a connection ID of 21 bytes',
    frames: frameBytes(FrameType.NewConnectionId, 99, 0, Uint8Array.of(21), new Uint8Array(21), TOKEN),
    error: 'FRAME_ENCODING_ERROR',
    because: /connection ID of 21 bytes/,
  },
  {
    what: 'Retire Prior To above the sequence number',
    frames: frameBytes(FrameType.NewConnectionId, 9, 10, Uint8Array.of(8), EIGHT, TOKEN),
    error: 'FRAME_ENCODING_ERROR',
    because: /retire prior to 10 above 9/,
  },
  {
    what: 'an ACK range below packet number zero',
    frames: frameBytes(FrameType.Ack, 0, 0, 0, 1),
    error: 'FRAME_ENCODING_ERROR',
    because: /negative packet number/,
  },
  {
    what: 'a later ACK range below packet number zero',
    frames: frameBytes(FrameType.Ack, 3, 0, 1, 0, 0, 5),
    error: 'FRAME_ENCODING_ERROR',
    because: /negative packet number/,
  },
  {
    what: 'a multipath frame without negotiation',
    frames: frameBytes(0x3e75, 0, 0),
    error: 'FRAME_ENCODING_ERROR',
    because: /without negotiation/,
  },
])

// spec: RFC 9000 §12.4#1, §12.4#5, §13.1, §19.7#4, §19.16#1, §19.16#2, §19.20#2, §5.1.1#5
check('client', [
  {
    what: 'a packet without frames',
    frames: new Uint8Array(0),
    error: 'PROTOCOL_VIOLATION',
    because: /without frames/,
  },
  {
    what: 'a frame type in more bytes than needed',
    frames: frameBytes(Uint8Array.of(0x40, FrameType.Ping), 0, 0),
    error: 'PROTOCOL_VIOLATION',
    because: /shortest form/,
  },
  {
    what: 'NEW_TOKEN',
    frames: frameBytes(FrameType.NewToken, 1, BYTE),
    error: 'PROTOCOL_VIOLATION',
    because: /NEW_TOKEN from a client/,
  },
  {
    what: 'HANDSHAKE_DONE',
    frames: frameBytes(FrameType.HandshakeDone, 0, 0),
    error: 'PROTOCOL_VIOLATION',
    because: /HANDSHAKE_DONE from a client/,
  },
  {
    what: 'an acknowledgment of a packet never sent',
    frames: frameBytes(FrameType.Ack, 1_000_000, 0, 0, 0),
    error: 'PROTOCOL_VIOLATION',
    because: /never sent/,
  },
  {
    what: 'the retirement of a connection ID never issued',
    frames: frameBytes(FrameType.RetireConnectionId, 1_000),
    error: 'PROTOCOL_VIOLATION',
    because: /never issued/,
  },
  {
    what: 'the retirement of the connection ID the packet was sent to',
    frames: frameBytes(FrameType.RetireConnectionId, 0, 0),
    error: 'PROTOCOL_VIOLATION',
    because: /in a packet sent to it/,
  },
  {
    what: 'another connection ID under a known sequence number',
    frames: frameBytes(FrameType.NewConnectionId, 1, 0, Uint8Array.of(8), EIGHT, TOKEN),
    error: 'PROTOCOL_VIOLATION',
    because: /contradicts/,
  },
  {
    what: 'more connection IDs than asked for',
    frames: frameBytes(
      ...[FrameType.NewConnectionId, 20, 0, Uint8Array.of(8), EIGHT, TOKEN],
      ...[FrameType.NewConnectionId, 21, 0, Uint8Array.of(8), new Uint8Array(8).fill(0xc6), TOKEN],
    ),
    error: 'CONNECTION_ID_LIMIT_ERROR',
    because: /connection IDs, limit/,
  },
])

// spec: RFC 9000 §19.7#2
check('server', [
  {
    what: 'an empty NEW_TOKEN',
    frames: frameBytes(FrameType.NewToken, 0),
    error: 'FRAME_ENCODING_ERROR',
    because: /empty token/,
  },
  {
    what: 'data on a stream the client never opened',
    frames: frameBytes(STREAM, 0, 0, 1, BYTE),
    error: 'STREAM_STATE_ERROR',
    because: /stream 0 was not opened/,
  },
  {
    what: 'CRYPTO data far ahead',
    frames: frameBytes(FrameType.Crypto, 1_000_000, 1, BYTE),
    error: 'CRYPTO_BUFFER_EXCEEDED',
    because: /ahead/,
  },
])

for (const from of ['client', 'server'] as const) {
  // spec: RFC 9000 §17.3.1#3
  test(`reserved bits in a short header from a ${from} are PROTOCOL_VIOLATION`, () => {
    for (const firstByte of [0x08, 0x10]) {
      const forged = forgedPair(from)
      forged.pair.handshake()
      forged.send(Level.OneRtt, frameBytes(FrameType.Ping, 0, 0), { firstByte })
      const { name, reason } = forged.verdict()
      assert.equal(name, 'PROTOCOL_VIOLATION')
      assert.match(reason, /reserved/)
    }
  })

  // spec: RFC 9221 §3#3
  test(`a DATAGRAM from a ${from} to a peer that wants none is PROTOCOL_VIOLATION`, () => {
    const victim = from === 'client' ? 'server' : 'client'
    const forged = forgedPair(from, { [victim]: { datagramFrameBytesMax: 0 } })
    forged.pair.handshake()
    forged.send(Level.OneRtt, frameBytes(FrameType.Datagram, BYTE, BYTE, BYTE))
    assert.equal(forged.verdict().name, 'PROTOCOL_VIOLATION')
  })

  // spec: RFC 9221 §3#4
  test(`a DATAGRAM frame from a ${from} is taken up to the size announced and not a byte beyond`, () => {
    const victim = from === 'client' ? 'server' : 'client'
    for (const [type, headerBytes] of [
      [FrameType.Datagram, 1],
      [FrameType.DatagramLength, 3],
    ] as const) {
      const forged = forgedPair(from, { [victim]: { datagramFrameBytesMax: 500 } })
      forged.pair.handshake()
      forged.pair.advance(100_000)
      const length = (bytes: number): Uint8Array =>
        type === FrameType.Datagram ? new Uint8Array(0) : Uint8Array.of(0x40 | (bytes >> 8), bytes & 0xff)
      const fits = 500 - headerBytes
      forged.send(Level.OneRtt, frameBytes(type, length(fits), new Uint8Array(fits)))
      forged.pair.run(() => forged.pair.event(victim, 'datagram') !== undefined)
      assert.equal(forged.pair.event(victim, 'datagram')?.data.length, fits)
      const packetNumber = 900
      forged.send(Level.OneRtt, frameBytes(type, length(fits + 1), new Uint8Array(fits + 1)), { packetNumber })
      assert.match(forged.verdict().reason, /larger than announced/)
    }
  })
}
