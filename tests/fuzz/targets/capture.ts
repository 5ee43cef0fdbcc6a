/** Fuzzes the reader of captures: any bytes are packets or an error with an offset, the same however they are cut. */
import { CaptureDecoder, CaptureError, type DecodedPacket } from '../../../packages/net/src/decode/index.ts'
import { interfaceBlock, secretsBlock, sectionHeaderBlock } from '../../../packages/net/src/capture/pcapng-blocks.ts'
import { type FuzzTarget, magnitude, promise, shape } from '../target.ts'

interface Outcome {
  readonly packets: readonly DecodedPacket[]
  readonly error: string
  readonly totals: ReturnType<CaptureDecoder['totals']>
}

function decode(input: Uint8Array, chunkBytes: number): Outcome {
  const packets: DecodedPacket[] = []
  const decoder = new CaptureDecoder({ onPacket: (packet) => packets.push(packet) })
  let error = ''
  try {
    for (let at = 0; at < input.length; at += chunkBytes) decoder.push(input.subarray(at, at + chunkBytes))
    decoder.end()
  } catch (thrown) {
    promise(thrown instanceof CaptureError, `nothing but CaptureError: ${String(thrown)}`)
    promise(thrown.offset >= 0 && thrown.offset <= input.length, `the offset ${thrown.offset} lies in the file`)
    error = thrown.message
  }
  return { packets, error, totals: decoder.totals() }
}

export const capture: FuzzTarget = {
  name: 'capture',
  inputBytesMax: 20_480,
  shortRuns: 200,
  // A recorded connection over two paths, secrets inside, is among the kept inputs: two-paths.bin.
  seeds: () => [
    Buffer.concat([
      sectionHeaderBlock({ application: 'fuzz' }),
      interfaceBlock({ name: 'lo', snapBytes: 0 }),
      secretsBlock(`CLIENT_TRAFFIC_SECRET_0 ${'ab'.repeat(32)} ${'cd'.repeat(32)}\n`),
    ]),
  ],
  dictionary: [
    Buffer.from('0a0d0d0a', 'hex'),
    Buffer.from('4d3c2b1a', 'hex'),
    Buffer.from('1a2b3c4d', 'hex'),
    Buffer.from('4b534c54', 'hex'),
    Buffer.from('06000000', 'hex'),
    Buffer.from('0a000000', 'hex'),
    Buffer.from('ffffffff', 'hex'),
  ],
  run(input) {
    const whole = decode(input, input.length + 1)
    const cut = decode(input, 13)
    promise(whole.error === cut.error, `the same error in pieces: "${whole.error}", "${cut.error}"`)
    promise(JSON.stringify(whole.packets) === JSON.stringify(cut.packets), 'the same packets in pieces')
    const { packets, totals } = whole
    promise(totals.packets === packets.length, 'every packet is told')
    promise(totals.decrypted <= totals.packets, 'no more is read than there is')
    for (const { length, frames, problem, packetNumber } of packets) {
      promise(length > 0 && length <= input.length, `a packet of ${length} bytes`)
      promise(frames === undefined || Array.isArray(JSON.parse(frames)), 'frames are JSON')
      promise((frames === undefined) === (packetNumber === undefined), 'a read packet has a number')
      promise(frames === undefined || problem === undefined, 'a read packet has no problem')
    }
    const kinds = [...new Set(packets.map(({ kind, problem }) => `${kind}/${problem ?? ''}`))].sort().join(' ')
    return `${shape(whole.error)} ${magnitude(packets.length)} ${magnitude(totals.decrypted)} ${kinds}`
  },
}
