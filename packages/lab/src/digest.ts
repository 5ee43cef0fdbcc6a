/** Fingerprint of a whole run: every datagram, its addresses and its time. Equal digests mean equal runs. */
import type { Micros } from '@quicether/transport'
import type { Datagram } from './datagram.ts'

export class RunDigest {
  #a = 0x811c9dc5
  #b = 0x01000193
  #datagrams = 0
  #bytes = 0

  get datagrams(): number {
    return this.#datagrams
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Adds a datagram as it leaves or reaches a host. */
  datagram(direction: 'sent' | 'received', datagram: Datagram, nowUs: Micros): void {
    this.#datagrams++
    this.#bytes += datagram.length
    this.#word(direction === 'sent' ? 1 : 2)
    this.number(nowUs)
    this.text(datagram.sourceAddress)
    this.text(datagram.destinationAddress)
    this.#word((datagram.sourcePort << 16) ^ datagram.destinationPort)
    this.#word((datagram.length << 2) | datagram.ecn)
    this.#contents(datagram.bytes, datagram.length)
  }

  /** Adds a number, its fraction included. */
  number(value: number): void {
    const whole = Math.floor(value)
    this.#word(whole | 0)
    this.#word(Math.floor(whole / 4_294_967_296) | 0)
    if (whole !== value) this.#word(((value - whole) * 4_294_967_296) | 0)
  }

  text(value: string): void {
    this.#word(value.length)
    for (let i = 0; i < value.length; i++) this.#word(value.charCodeAt(i))
  }

  /** 16 hexadecimal digits. */
  hex(): string {
    return hex32(this.#a) + hex32(this.#b)
  }

  /** Words of four bytes; the last one also carries what is left over. The bulk of all work here, hence the locals. */
  #contents(bytes: Uint8Array, length: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, length)
    let a = this.#a
    let b = this.#b
    let word = 0
    let i = 0
    for (; i + 4 <= length; i += 4) {
      word = view.getInt32(i)
      a = Math.imul(a ^ word, 0x9e3779b1)
      a = (a << 13) | (a >>> 19)
      b = Math.imul((b + word) ^ a, 0x85ebca77)
      b = (b << 17) | (b >>> 15)
    }
    this.#a = a
    this.#b = b
    if (i === length) return
    for (; i < length; i++) word = (word << 8) | view.getUint8(i)
    this.#word(word)
  }

  #word(value: number): void {
    const a = Math.imul(this.#a ^ value, 0x9e3779b1)
    this.#a = (a << 13) | (a >>> 19)
    const b = Math.imul((this.#b + value) ^ this.#a, 0x85ebca77)
    this.#b = (b << 17) | (b >>> 15)
  }
}

function hex32(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0')
}
