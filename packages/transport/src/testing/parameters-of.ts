/** Encoded transport parameters changed one by one, also into what no encoder would write. */
import { Reader, varintLength, writeVarint } from '@quicether/wire'

/** `bytes` with parameter `id` set to `value`, or without it when `value` is undefined. */
export function withParameter(bytes: Uint8Array, id: number, value: Uint8Array | undefined): Uint8Array {
  const kept: Uint8Array[] = []
  const reader = new Reader(bytes, 0, bytes.length)
  while (reader.remaining > 0) {
    const start = reader.offset
    const found = reader.varint()
    reader.skip(reader.varint())
    if (found !== id) kept.push(bytes.slice(start, reader.offset))
  }
  if (value !== undefined) kept.push(parameter(id, value))
  return Uint8Array.from(kept.flatMap((part) => [...part]))
}

/** One encoded parameter. */
export function parameter(id: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(varintLength(id) + varintLength(value.length) + value.length)
  bytes.set(value, writeVarint(bytes, writeVarint(bytes, 0, id), value.length))
  return bytes
}
