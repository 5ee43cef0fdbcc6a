/** The checks of h3spec as vectors of our own: what a client does wrong, and the error that the server must close with. */
import { withParameter } from '../../../packages/transport/src/testing/parameters-of.ts'
import { bytes, frame, headers, http3, prefixed, stream, withExtensions } from './bytes.ts'
import type { Deviation } from './raw-client.ts'

export interface Vector {
  /** As h3spec says it. */
  readonly name: string
  readonly deviation: Deviation
  /** Any of these. */
  readonly codes: readonly number[]
  /** The error may also end the one stream instead of the connection. */
  readonly mayBeStream?: boolean
}

const Transport = { FlowControl: 3, StreamLimit: 4, StreamState: 5, FrameEncoding: 7, Parameter: 8, Protocol: 0xa }
/** 0x0100 + alert (RFC 9001 §4.8). */
const Alert = { unexpectedMessage: 0x10a, missingExtension: 0x16d, noApplicationProtocol: 0x178 }
const Http3 = { ClosedCritical: 0x104, FrameUnexpected: 0x105, Settings: 0x109, MissingSettings: 0x10a, Message: 0x10e }
const Qpack = { Decompression: 0x200, EncoderStream: 0x201, DecoderStream: 0x202 }

const DUMMY = Buffer.from('DUMMY')
const QUIC_PARAMETERS = 0x39
/** 2^60 + 1 as a variable-length integer: more streams than there can be. */
const TOO_MANY_STREAMS = bytes(0xd0, 0, 0, 0, 0, 0, 0, 1)
const preferredAddress = frame(
  bytes(127, 0, 0, 1, 1, 0xbb, ...Array(16).fill(0), 0, 0, 8),
  bytes(0, 1, 2, 3, 4, 5, 6, 7),
  bytes(...Array(16).keys()),
)

const parameter = (id: number, value: Uint8Array | undefined): Deviation => ({
  parameters: (encoded) => withParameter(encoded, id, value),
})
const says = (...parts: readonly (number | Uint8Array)[]): Deviation => ({ oneRtt: frame(...parts) })

const control = (...frames: readonly Uint8Array[]): Uint8Array => stream(2, frame(0x00, ...frames))
const settings = (...pairs: readonly number[]): Uint8Array => http3(0x04, frame(...pairs))
const request = (...frames: readonly Uint8Array[]): Deviation => ({
  oneRtt: frame(control(settings()), stream(0, frame(...frames), true)),
})
const get = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'localhost'],
  [':path', '/'],
] as const

export const transportVectors: readonly Vector[] = [
  {
    name: 'MUST send FLOW_CONTROL_ERROR if a STREAM frame with a large offset is received [Transport 4.1]',
    deviation: says(0x0e, 0, 100_000_000, 5, Buffer.from('GET /')),
    codes: [Transport.FlowControl],
  },
  {
    name: 'MUST send STREAM_LIMIT_ERROR if a stream ID exceeding the limit',
    deviation: says(stream(1_000_000_000, Buffer.from('GET /'))),
    codes: [Transport.StreamLimit],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if initial_source_connection_id is missing [Transport 7.3]',
    deviation: parameter(0x0f, undefined),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if original_destination_connection_id is received [Transport 18.2]',
    deviation: parameter(0x00, DUMMY),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if preferred_address is received [Transport 18.2]',
    deviation: parameter(0x0d, preferredAddress),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if retry_source_connection_id is received [Transport 18.2]',
    deviation: parameter(0x10, DUMMY),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if stateless_reset_token is received [Transport 18.2]',
    deviation: parameter(0x02, bytes(...Array(16).keys())),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if max_udp_payload_size < 1200 [Transport 7.4 and 18.2]',
    deviation: parameter(0x03, frame(1_090)),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if ack_delay_exponent > 20 [Transport 7.4 and 18.2]',
    deviation: parameter(0x0a, frame(30)),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send TRANSPORT_PARAMETER_ERROR if max_ack_delay >= 2^14 [Transport 7.4 and 18.2]',
    deviation: parameter(0x0b, frame(2 ** 15)),
    codes: [Transport.Parameter],
  },
  {
    name: 'MUST send FRAME_ENCODING_ERROR if a frame of unknown type is received [Transport 12.4]',
    deviation: says(0x20),
    codes: [Transport.FrameEncoding],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION on no frames [Transport 12.4]',
    deviation: says(),
    codes: [Transport.Protocol],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION if reserved bits in Handshake are non-zero [Transport 17.2]',
    deviation: { handshakeBits: 0x08 },
    codes: [Transport.Protocol],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION if PATH_CHALLENGE in Handshake is received [Transport 17.2.4]',
    deviation: { handshakeFrames: frame(0x1a, Buffer.from('01234567')) },
    codes: [Transport.Protocol],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION if reserved bits in Short are non-zero [Transport 17.2]',
    deviation: { ...says(0x01), oneRttBits: 0x08 },
    codes: [Transport.Protocol],
  },
  {
    name: 'MUST send STREAM_STATE_ERROR if RESET_STREAM is received for a send-only stream [Transport 19.4]',
    deviation: says(0x04, 3, 0, 0),
    codes: [Transport.StreamState],
  },
  {
    name: 'MUST send STREAM_STATE_ERROR if STOP_SENDING is received for a non-existing stream [Transport 19.5]',
    deviation: says(0x05, 101, 0),
    codes: [Transport.StreamState],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION if NEW_TOKEN is received [Transport 19.7]',
    deviation: says(0x07, 5, DUMMY),
    codes: [Transport.Protocol],
  },
  {
    name: 'MUST send STREAM_STATE_ERROR if it receives a STREAM frame for a locally-initiated stream that has not yet been created [Transport 19.8]',
    deviation: says(stream(1, DUMMY)),
    codes: [Transport.StreamState],
  },
  {
    name: 'MUST send STREAM_STATE_ERROR if it receives a STREAM frame for a send-only stream [Transport 19.8]',
    deviation: says(stream(3, DUMMY)),
    codes: [Transport.StreamState],
  },
  {
    name: 'MUST send STREAM_STATE_ERROR if MAX_STREAM_DATA is received for a stream that has not yet been created [Transport 19.10]',
    deviation: says(0x11, 101, 1_000_000),
    codes: [Transport.StreamState],
  },
  {
    name: 'MUST send STREAM_STATE_ERROR if MAX_STREAM_DATA is received for a receive-only stream [Transport 19.10]',
    deviation: says(0x11, 2, 1_000_000),
    codes: [Transport.StreamState],
  },
  {
    name: 'MUST send FRAME_ENCODING_ERROR if invalid MAX_STREAMS is received [Transport 19.11]',
    deviation: says(0x12, TOO_MANY_STREAMS),
    codes: [Transport.FrameEncoding],
  },
  {
    name: 'MUST send STREAM_LIMIT_ERROR or FRAME_ENCODING_ERROR if invalid STREAMS_BLOCKED is received [Transport 19.14]',
    deviation: says(0x16, TOO_MANY_STREAMS),
    codes: [Transport.StreamLimit, Transport.FrameEncoding],
  },
  {
    name: 'MUST send FRAME_ENCODING_ERROR if NEW_CONNECTION_ID with invalid Retire_Prior_To is received [Transport 19.15]',
    deviation: says(0x18, 1, 10, bytes(8, ...Array(8).fill(7), ...Array(16).fill(9))),
    codes: [Transport.FrameEncoding],
  },
  {
    name: 'MUST send FRAME_ENCODING_ERROR if NEW_CONNECTION_ID with 0-byte CID is received [Transport 19.15]',
    deviation: says(0x18, 1, 0, bytes(0, ...Array(16).fill(9))),
    codes: [Transport.FrameEncoding],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION if HANDSHAKE_DONE is received [Transport 19.20]',
    deviation: says(0x1e),
    codes: [Transport.Protocol],
  },
  {
    name: 'MUST send unexpected_message TLS alert if KeyUpdate in Handshake is received [TLS 6]',
    deviation: { handshakeMessages: bytes(24, 0, 0, 1, 0) },
    codes: [Alert.unexpectedMessage],
  },
  {
    name: 'MUST send unexpected_message TLS alert if KeyUpdate in 1-RTT is received [TLS 6]',
    deviation: says(0x06, 0, 5, bytes(24, 0, 0, 1, 0)),
    codes: [Alert.unexpectedMessage],
  },
  {
    name: 'MUST send no_application_protocol TLS alert if no application protocols are supported [TLS 8.1]',
    deviation: { alpn: 'dummy' },
    codes: [Alert.noApplicationProtocol],
  },
  {
    name: 'MUST send missing_extension TLS alert if the quic_transport_parameters extension is not included [TLS 8.2]',
    deviation: {
      clientHello: (message) =>
        withExtensions(message, (id, body) => (id === QUIC_PARAMETERS ? undefined : [id, body])),
    },
    codes: [Alert.missingExtension],
  },
  {
    name: 'MUST send missing_extension TLS alert if the quic_transport_parameters extension has the number of a draft [TLS 8.2]',
    deviation: {
      clientHello: (message) => withExtensions(message, (id, body) => [id === QUIC_PARAMETERS ? 0xffa5 : id, body]),
    },
    codes: [Alert.missingExtension],
  },
  {
    name: 'MUST send unexpected_message TLS alert if EndOfEarlyData is received [TLS 8.3]',
    deviation: { handshakeMessages: bytes(5, 0, 0, 0) },
    codes: [Alert.unexpectedMessage],
  },
  {
    name: 'MUST send PROTOCOL_VIOLATION if CRYPTO in 0-RTT is received [TLS 8.3]',
    deviation: { zeroRtt: frame(0x06, 0, 4, bytes(5, 0, 0, 0)) },
    codes: [Transport.Protocol],
  },
]

export const http3Vectors: readonly Vector[] = [
  {
    name: 'MUST send H3_FRAME_UNEXPECTED if DATA is received before HEADERS [HTTP/3 4.1]',
    deviation: request(http3(0x00, DUMMY), headers(...get)),
    codes: [Http3.FrameUnexpected],
  },
  {
    name: 'MUST send H3_MESSAGE_ERROR if a pseudo-header is duplicated [HTTP/3 4.1.1]',
    deviation: request(headers([':method', 'GET'], ...get)),
    codes: [Http3.Message],
    mayBeStream: true,
  },
  {
    name: 'MUST send H3_MESSAGE_ERROR if mandatory pseudo-header fields are absent [HTTP/3 4.1.3]',
    deviation: request(headers([':method', 'GET'], [':path', '/'])),
    codes: [Http3.Message],
    mayBeStream: true,
  },
  {
    name: 'MUST send H3_MESSAGE_ERROR if prohibited pseudo-header fields are present [HTTP/3 4.1.3]',
    deviation: request(headers(...get, [':status', '200'])),
    codes: [Http3.Message],
    mayBeStream: true,
  },
  {
    name: 'MUST send H3_MESSAGE_ERROR if pseudo-header fields exist after fields [HTTP/3 4.1.3]',
    deviation: request(headers(['accept', '*/*'], ...get)),
    codes: [Http3.Message],
    mayBeStream: true,
  },
  {
    name: 'MUST send H3_MISSING_SETTINGS if the first control frame is not SETTINGS [HTTP/3 6.2.1]',
    deviation: says(control(http3(0x07, bytes(0)), settings())),
    codes: [Http3.MissingSettings],
  },
  {
    name: 'MUST send H3_FRAME_UNEXPECTED if a DATA frame is received on a control stream [HTTP/3 7.2.1]',
    deviation: says(control(settings(), http3(0x00, DUMMY))),
    codes: [Http3.FrameUnexpected],
  },
  {
    name: 'MUST send H3_FRAME_UNEXPECTED if a HEADERS frame is received on a control stream [HTTP/3 7.2.2]',
    deviation: says(control(settings(), headers(...get))),
    codes: [Http3.FrameUnexpected],
  },
  {
    name: 'MUST send H3_FRAME_UNEXPECTED if a second SETTINGS frame is received [HTTP/3 7.2.4]',
    deviation: says(control(settings(), settings())),
    codes: [Http3.FrameUnexpected],
  },
  {
    name: 'MUST send H3_SETTINGS_ERROR if duplicate setting identifiers exist [HTTP/3 7.2.4]',
    deviation: says(control(settings(0x06, 1_000, 0x06, 1_000))),
    codes: [Http3.Settings],
  },
  {
    name: 'MUST send H3_SETTINGS_ERROR if HTTP/2 settings are included [HTTP/3 7.2.4.1]',
    deviation: says(control(settings(0x02, 1))),
    codes: [Http3.Settings],
  },
  {
    name: 'MUST send H3_FRAME_UNEXPECTED if CANCEL_PUSH is received in a request stream [HTTP/3 7.2.5]',
    deviation: request(http3(0x03, bytes(0)), headers(...get)),
    codes: [Http3.FrameUnexpected],
  },
  {
    name: 'MUST send QPACK_DECOMPRESSION_FAILED if an invalid static table index exists in a field line representation [QPACK 3.1]',
    deviation: request(http3(0x01, bytes(0, 0, ...prefixed(0xc0, 6, 200)))),
    codes: [Qpack.Decompression],
  },
  {
    name: 'MUST send QPACK_ENCODER_STREAM_ERROR if a new dynamic table capacity value exceeds the limit [QPACK 4.1.3]',
    deviation: says(control(settings()), stream(6, bytes(0x02, ...prefixed(0x20, 5, 1_000_000_000)))),
    codes: [Qpack.EncoderStream],
  },
  {
    name: 'MUST send H3_CLOSED_CRITICAL_STREAM if a control stream is closed [QPACK 4.2]',
    deviation: says(stream(2, frame(0x00, settings()), true)),
    codes: [Http3.ClosedCritical],
  },
  {
    name: 'MUST send QPACK_DECODER_STREAM_ERROR if Insert Count Increment is 0 [QPACK 4.4.3]',
    deviation: says(control(settings()), stream(6, bytes(0x03, 0x00))),
    codes: [Qpack.DecoderStream],
  },
]
