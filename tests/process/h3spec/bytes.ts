/** Bytes by hand: frames, streams, header blocks and changes to a ClientHello that no honest encoder would write. */
import { varintLength, writeVarint } from '@quicether/wire'

/** Numbers become variable-length integers, arrays are taken as they are. */
export function frame(...parts: readonly (number | Uint8Array)[]): Uint8Array {
  let length = 0
  for (const part of parts) length += typeof part === 'number' ? varintLength(part) : part.length
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    if (typeof part === 'number') at = writeVarint(out, at, part)
    else {
      out.set(part, at)
      at += part.length
    }
  }
  return out
}

export const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values)

/** A STREAM frame from offset 0 with its length. */
export function stream(id: number, data: Uint8Array, isLast = false): Uint8Array {
  return frame(isLast ? 0x0b : 0x0a, id, data.length, data)
}

/** An HTTP/3 frame. */
export function http3(type: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  return frame(type, payload.length, payload)
}

/** A HEADERS frame of literal field lines (RFC 9204 §4.5.6), which need no table. */
export function headers(...lines: readonly (readonly [string, string])[]): Uint8Array {
  const block = [0, 0]
  for (const [name, value] of lines) {
    block.push(...prefixed(0x20, 3, name.length), ...Buffer.from(name))
    block.push(...prefixed(0, 7, value.length), ...Buffer.from(value))
  }
  return http3(0x01, Uint8Array.from(block))
}

/** An integer with an N-bit prefix (RFC 7541 §5.1) below the bits of `first`. */
export function prefixed(first: number, prefixBits: number, value: number): number[] {
  const largest = (1 << prefixBits) - 1
  if (value < largest) return [first | value]
  const out = [first | largest]
  let rest = value - largest
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128)
  out.push(rest)
  return out
}

/** Changes the extensions of a ClientHello message; undefined from `change` leaves one out. */
export function withExtensions(
  message: Uint8Array,
  change: (id: number, body: Uint8Array) => readonly [number, Uint8Array] | undefined,
): Uint8Array {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  let at = 4 + 2 + 32
  at += 1 + view.getUint8(at) // session ID
  at += 2 + view.getUint16(at) // cipher suites
  at += 1 + view.getUint8(at) // compression methods
  const kept: number[] = []
  for (let next = at + 2; next < message.length; ) {
    const length = view.getUint16(next + 2)
    const changed = change(view.getUint16(next), message.subarray(next + 4, next + 4 + length))
    if (changed !== undefined) {
      const [id, body] = changed
      kept.push(id >> 8, id & 255, body.length >> 8, body.length & 255, ...body)
    }
    next += 4 + length
  }
  const out = Uint8Array.from([...message.subarray(0, at), kept.length >> 8, kept.length & 255, ...kept])
  const length = out.length - 4
  out.set([length >> 16, (length >> 8) & 255, length & 255], 1)
  return out
}
