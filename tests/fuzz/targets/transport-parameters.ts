/** Fuzzes transport parameters: any extension decodes or is refused, and what decodes survives a round trip. */
import { isDeepStrictEqual } from 'node:util'
import {
  decodeTransportParameters,
  defaultTransportParameters,
  encodeTransportParameters,
  TransportError,
} from '../../../packages/wire/src/index.ts'
import { type FuzzTarget, promise, shape } from '../target.ts'

/** The low bit of the first byte: sent by a server. */
export const transportParameters: FuzzTarget = {
  name: 'transport-parameters',
  inputBytesMax: 1_024,
  seeds: () => {
    const client = {
      ...defaultTransportParameters(),
      initialSourceCid: new Uint8Array(8),
      initialMaxData: 1_000_000,
      initialMaxPathId: 4,
      additionalAddresses: true,
    }
    const server = {
      ...client,
      additionalAddresses: false,
      originalDestinationCid: new Uint8Array(8),
      statelessResetToken: new Uint8Array(16),
      retrySourceCid: new Uint8Array(0),
      disableActiveMigration: true,
      greaseQuicBit: true,
      maxDatagramFrameSize: 65_535,
      versionInformation: { chosen: 1, available: [1, 0x6b3343cf] },
      preferredAddress: {
        ipv4Address: '192.0.2.1',
        ipv4Port: 443,
        ipv6Address: '2001:db8::1',
        ipv6Port: 443,
        cid: new Uint8Array(5),
        statelessResetToken: new Uint8Array(16),
      },
    }
    return [
      Uint8Array.from([0, ...encodeTransportParameters(client, { id: 27, value: new Uint8Array(3) })]),
      Uint8Array.from([1, ...encodeTransportParameters(server)]),
    ]
  },
  dictionary: ['00', '02', '0a', '0b', '0c00', '0d', '0e', '11', '3e', '6ab200', '20', 'c000000925adda0300'].map(
    (text) => Uint8Array.from(Buffer.from(text, 'hex')),
  ),
  run(input) {
    const sender = ((input[0] ?? 0) & 1) === 0 ? 'client' : 'server'
    try {
      const decoded = decodeTransportParameters(input.subarray(1), sender)
      const again = decodeTransportParameters(encodeTransportParameters(decoded), sender)
      promise(isDeepStrictEqual(decoded, again), 'encoded parameters decode to the same values')
      promise(decoded.activeConnectionIdLimit >= 2 && decoded.maxUdpPayloadSize >= 1_200, 'limits are checked')
      return Object.keys(decoded).sort().join(',')
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      promise(error.codeName === 'TRANSPORT_PARAMETER_ERROR', `${error.codeName} is the wrong error`)
      return `! ${shape(error.message)}`
    }
  },
}
