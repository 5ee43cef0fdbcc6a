/** Fuzzes the frame decoder: any payload at any level gives frames within bounds, or a transport error, in linear work. */
import {
  type AckView,
  decodeFrames,
  type FrameSink,
  TransportError,
  visitAddresses,
} from '../../../packages/wire/src/index.ts'
import { type FuzzTarget, magnitude, promise, shape } from '../target.ts'

const samples = [
  '0001',
  '02 4fff 0a 02 03 01 01 05 05',
  '03 0a00000a 01 02 03',
  '04 04 4100 10',
  '05 08 4100',
  '06 00 05 6162636465',
  '07 04 01020304',
  '08 04 616263',
  '0f 04 44d2 03 616263 01',
  '10 bfffffff',
  '11 04 bfffffff',
  '12 40ff 13 10',
  '14 05 15 04 05 16 05 17 05',
  '18 02 01 08 0102030405060708 000102030405060708090a0b0c0d0e0f',
  '19 01',
  '1a 0102030405060708 1b 0102030405060708',
  '1c 0a 08 03 616263',
  '1d 4100 02 6162',
  '1e',
  '31 03 616263 30 616263',
  '3e 02 0a 00 00 0a',
  '3f 02 0a 00 00 0a 01 02 03',
  '7e75 02 00',
  '7e76 02 05 7e77 02 06',
  '7e78 02 03 01 04 01020304 000102030405060708090a0b0c0d0e0f',
  'c0000009 25adda03 01 02 04 0a000002 01bb 06 20010db8000000000000000000000009 01bb',
  '7e79 02 01 7e7a 08 7e7b 08 7e7c 02 01',
]

/** The first byte: bits 0 and 1 are the level, bit 2 allows multipath frames. */
export const frames: FuzzTarget = {
  name: 'frames',
  inputBytesMax: 1_500,
  seeds: () => {
    const payloads = samples.map((text) => Buffer.from(text.replaceAll(' ', ''), 'hex'))
    return [...payloads, Buffer.concat(payloads.slice(0, 20))].map((payload) => Uint8Array.from([7, ...payload]))
  },
  dictionary: ['7e75', '7e76', '7e78', '7e7c', '3e', '3f', '40', '02', 'c000000000000006', 'c000000925adda03'].map(
    (text) => Uint8Array.from(Buffer.from(text, 'hex')),
  ),
  run(input) {
    const mode = input[0] ?? 0
    const sink = new CheckingSink(input, 1, input.length)
    try {
      const bits = decodeFrames(input, 1, Math.max(1, input.length), mode & 3, (mode & 4) !== 0, sink)
      return `${sink.summary()} = ${bits}`
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      return `${sink.summary()} ! ${error.codeName} ${shape(error.message)}`
    } finally {
      promise(sink.calls <= input.length, 'no more frames than bytes')
    }
  },
}

class CheckingSink implements FrameSink {
  calls = 0
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #end: number
  #seen = ''

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  summary(): string {
    return `${this.#seen} ${magnitude(this.calls)}`
  }

  onPadding(count: number): void {
    this.#saw('p')
    promise(count >= 1 && count <= this.#end, 'padding is counted')
  }
  onPing(): void {
    this.#saw('i')
  }
  onAck(ack: AckView): void {
    this.#saw(`a${ack.pathId < 0 ? '' : 'p'}${ack.hasEcn ? 'e' : ''}${magnitude(ack.count)}`)
    this.#numbers(ack.delay, ack.ect0, ack.ect1, ack.ce)
    promise(ack.count >= 1 && ack.count <= ack.largest.length, 'ranges are bounded')
    for (let at = 0; at < ack.count; at++) {
      const [largest, smallest] = [ack.largest[at] as number, ack.smallest[at] as number]
      promise(smallest >= 0 && smallest <= largest, 'a range is not empty')
      if (at > 0) promise(largest < (ack.smallest[at - 1] as number) - 1, 'ranges descend and do not touch')
    }
  }
  onResetStream(id: number, code: number, finalSize: number): void {
    this.#saw('r')
    this.#numbers(id, code, finalSize)
  }
  onStopSending(id: number, code: number): void {
    this.#saw('s')
    this.#numbers(id, code)
  }
  onCrypto(offset: number, start: number, end: number): void {
    this.#saw('c')
    this.#numbers(offset + (end - start))
    this.#range(start, end)
  }
  onNewToken(start: number, end: number): void {
    this.#saw('t')
    this.#range(start, end)
    promise(end > start, 'a token is not empty')
  }
  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void {
    this.#saw(fin ? 'F' : 'S')
    this.#numbers(id, offset + (end - start))
    this.#range(start, end)
  }
  onMaxData(limit: number): void {
    this.#saw('d')
    this.#numbers(limit)
  }
  onMaxStreamData(id: number, limit: number): void {
    this.#saw('D')
    this.#numbers(id, limit)
  }
  onMaxStreams(_bidirectional: boolean, limit: number): void {
    this.#saw('m')
    this.#numbers(limit)
  }
  onDataBlocked(limit: number): void {
    this.#saw('b')
    this.#numbers(limit)
  }
  onStreamDataBlocked(id: number, limit: number): void {
    this.#saw('B')
    this.#numbers(id, limit)
  }
  onStreamsBlocked(_bidirectional: boolean, limit: number): void {
    this.#saw('M')
    this.#numbers(limit)
  }
  onNewConnectionId(
    pathId: number,
    isPathFrame: boolean,
    sequence: number,
    retirePriorTo: number,
    cidStart: number,
    cidLength: number,
    tokenStart: number,
  ): void {
    this.#saw(isPathFrame ? 'N' : 'n')
    this.#numbers(pathId, sequence, retirePriorTo)
    this.#range(cidStart, cidStart + cidLength)
    this.#range(tokenStart, tokenStart + 16)
    promise(cidLength >= 1 && cidLength <= 20 && retirePriorTo <= sequence, 'RFC 9000 §19.15 holds')
  }
  onRetireConnectionId(pathId: number, isPathFrame: boolean, sequence: number): void {
    this.#saw(isPathFrame ? 'X' : 'x')
    this.#numbers(pathId, sequence)
  }
  onPathChallenge(start: number): void {
    this.#saw('h')
    this.#range(start, start + 8)
  }
  onPathResponse(start: number): void {
    this.#saw('H')
    this.#range(start, start + 8)
  }
  onConnectionClose(application: boolean, code: number, frameType: number, start: number, end: number): void {
    this.#saw(application ? 'Z' : 'z')
    this.#numbers(code, frameType)
    this.#range(start, end)
  }
  onHandshakeDone(): void {
    this.#saw('o')
  }
  onDatagram(start: number, end: number): void {
    this.#saw('g')
    this.#range(start, end)
  }
  onPathAbandon(pathId: number, code: number): void {
    this.#saw('1')
    this.#numbers(pathId, code)
  }
  onPathStatus(pathId: number, available: boolean, sequence: number): void {
    this.#saw(available ? '2' : '3')
    this.#numbers(pathId, sequence)
  }
  onMaxPathId(limit: number): void {
    this.#saw('4')
    this.#numbers(limit)
  }
  onPathsBlocked(limit: number): void {
    this.#saw('5')
    this.#numbers(limit)
  }
  onPathCidsBlocked(pathId: number, nextSequence: number): void {
    this.#saw('6')
    this.#numbers(pathId, nextSequence)
  }
  onAdditionalAddresses(sequence: number, count: number, start: number, end: number): void {
    this.#saw('7')
    this.#numbers(sequence, count)
    this.#range(start, end)
    let visited = 0
    visitAddresses(this.#bytes, start, end, (address, port) => {
      visited++
      promise(/^[0-9a-f.:]{7,39}$/.test(address) && port >= 0 && port <= 65_535, 'an address that can be written')
    })
    promise(visited === count, 'as many addresses as counted')
  }

  /** The kinds of the first frames tell outcomes apart; later ones only count. */
  #saw(kind: string): void {
    this.calls++
    if (this.calls <= 3) this.#seen += kind
  }

  #numbers(...values: readonly number[]): void {
    for (const value of values) promise(Number.isSafeInteger(value) && value >= 0, `${value} is a safe integer`)
  }

  #range(start: number, end: number): void {
    promise(start >= this.#start && start <= end && end <= this.#end, 'bytes are taken from the payload only')
  }
}
