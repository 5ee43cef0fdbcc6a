/** Transport parameters that no endpoint may send: each is TRANSPORT_PARAMETER_ERROR, over the wire. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ForgedPair, type PairOptions, forgedPair, frameBytes } from '../testing/index.ts'
import { parameter, withParameter } from '../testing/parameters-of.ts'

const EIGHT = new Uint8Array(8).fill(0xee)
/** 2^60 + 1 as a variable-length integer. */
const ABOVE_2_60 = Uint8Array.of(0xd0, 0, 0, 0, 0, 0, 0, 1)

const Id = {
  OriginalDcid: 0x00,
  ResetToken: 0x02,
  MaxUdpPayload: 0x03,
  MaxStreamsBidi: 0x08,
  MaxStreamsUni: 0x09,
  AckDelayExponent: 0x0a,
  MaxAckDelay: 0x0b,
  DisableMigration: 0x0c,
  PreferredAddress: 0x0d,
  ActiveCidLimit: 0x0e,
  InitialScid: 0x0f,
  RetryScid: 0x10,
  MaxDatagram: 0x20,
  GreaseQuicBit: 0x2ab2,
} as const

type Change = (bytes: Uint8Array) => Uint8Array

const set =
  (id: number, value: Uint8Array): Change =>
  (bytes) =>
    withParameter(bytes, id, value)
const without =
  (id: number): Change =>
  (bytes) =>
    withParameter(bytes, id, undefined)

function preferredAddress(cidLength: number): Uint8Array {
  const bytes = new Uint8Array(41 + cidLength)
  bytes[24] = cidLength
  return bytes
}

function connect(side: 'client' | 'server', change: Change, options: PairOptions = {}): ForgedPair {
  const forged = forgedPair(side, {
    ...options,
    parametersOf: (from, bytes) => (from === side ? change(bytes) : bytes),
  })
  forged.pair.connect()
  return forged
}

const both: readonly (readonly [string, Change])[] = [
  ['a parameter twice', (bytes) => Uint8Array.of(...bytes, ...parameter(Id.MaxUdpPayload, frameBytes(1_400)))],
  ['a parameter cut off', (bytes) => Uint8Array.of(...bytes, 0x05, 8, 1)],
  ['a number with bytes behind it', set(Id.MaxDatagram, Uint8Array.of(1, 1))],
  ['max_udp_payload_size below 1200', set(Id.MaxUdpPayload, frameBytes(1_199))],
  ['ack_delay_exponent above 20', set(Id.AckDelayExponent, frameBytes(21))],
  ['max_ack_delay of 2^14', set(Id.MaxAckDelay, frameBytes(16_384))],
  ['active_connection_id_limit below 2', set(Id.ActiveCidLimit, frameBytes(1))],
  ['initial_max_streams_bidi above 2^60', set(Id.MaxStreamsBidi, ABOVE_2_60)],
  ['initial_max_streams_uni above 2^60', set(Id.MaxStreamsUni, ABOVE_2_60)],
  ['disable_active_migration with a value', set(Id.DisableMigration, Uint8Array.of(1))],
  ['grease_quic_bit with a value', set(Id.GreaseQuicBit, Uint8Array.of(1))],
  ['no initial_source_connection_id', without(Id.InitialScid)],
  ['another initial_source_connection_id than its packets', set(Id.InitialScid, EIGHT)],
]

for (const side of ['client', 'server'] as const) {
  for (const [what, change] of both) {
    // spec: RFC 9000 §4.6#1, §7.3#2, §7.3#3, §7.3#4, §7.4#1, §18.2#7, §18.2#8, RFC 9287 §3#1
    test(`${what} from a ${side} is TRANSPORT_PARAMETER_ERROR`, () => {
      assert.equal(connect(side, change).verdict().name, 'TRANSPORT_PARAMETER_ERROR')
    })
  }
}

for (const [name, id, value] of [
  ['original_destination_connection_id', Id.OriginalDcid, EIGHT],
  ['stateless_reset_token', Id.ResetToken, new Uint8Array(16)],
  ['preferred_address', Id.PreferredAddress, preferredAddress(8)],
  ['retry_source_connection_id', Id.RetryScid, EIGHT],
] as const) {
  // spec: RFC 9000 §18.2#10
  test(`${name}, which is for servers only, from a client is TRANSPORT_PARAMETER_ERROR`, () => {
    assert.equal(connect('client', set(id, value)).verdict().name, 'TRANSPORT_PARAMETER_ERROR')
  })
}

for (const [what, change, accept] of [
  ['no original_destination_connection_id', without(Id.OriginalDcid), {}],
  ['another original_destination_connection_id than the client sent', set(Id.OriginalDcid, EIGHT), {}],
  ['retry_source_connection_id without Retry', set(Id.RetryScid, EIGHT), {}],
  ['no retry_source_connection_id after Retry', without(Id.RetryScid), { retry: 'always' }],
  ['another retry_source_connection_id than the Retry had', set(Id.RetryScid, EIGHT), { retry: 'always' }],
  ['a stateless_reset_token of 15 bytes', set(Id.ResetToken, new Uint8Array(15)), {}],
  ['a preferred_address with a connection ID of no bytes', set(Id.PreferredAddress, preferredAddress(0)), {}],
] as const satisfies readonly (readonly [string, Change, PairOptions['accept']])[]) {
  // spec: RFC 9000 §7.3#1, §7.3#3, §7.3#4, §18.2#6
  test(`${what} from a server is TRANSPORT_PARAMETER_ERROR`, () => {
    assert.equal(connect('server', change, { accept }).verdict().name, 'TRANSPORT_PARAMETER_ERROR')
  })
}

// spec: RFC 9000 §7.4.2
test('parameters that nobody knows are ignored', () => {
  const unknown = parameter(0x3f5a, new Uint8Array(40))
  const pair = forgedPair('client', { parametersOf: (_side, bytes) => Uint8Array.of(...bytes, ...unknown) }).pair
  pair.handshake()
  assert.equal(pair.accepted?.core.handshakeConfirmed, true)
})

for (const [name, id] of [
  ['initial_max_data', 0x04],
  ['initial_max_stream_data_uni', 0x07],
  ['initial_max_streams_bidi', Id.MaxStreamsBidi],
  ['active_connection_id_limit', Id.ActiveCidLimit],
  ['max_datagram_frame_size', Id.MaxDatagram],
] as const) {
  // spec: RFC 9000 §7.4.1#5, §7.4.1#6, RFC 9221 §3#7, §3#8
  test(`a server that accepts 0-RTT and lowers ${name} is PROTOCOL_VIOLATION`, () => {
    let isReturning = false
    const forged = forgedPair('server', {
      parametersOf: (from, bytes) =>
        from === 'server' && isReturning ? withParameter(bytes, id, frameBytes(2)) : bytes,
    })
    const { pair } = forged
    pair.handshake()
    pair.advance(200_000)
    isReturning = true
    pair.connect({ earlyData: true })
    const { name: error, reason } = forged.verdict()
    assert.equal(error, 'PROTOCOL_VIOLATION')
    assert.match(reason, /below the value remembered/)
  })
}
