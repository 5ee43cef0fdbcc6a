/** The Huffman code of RFC 7541 Appendix B: encode by table, decode four bits at a step. */

/**
 * Bits of the code of each octet, 256 = EOS. The code is canonical (within one length, codes rise with the symbol), so
 * the lengths determine it.
 */
// biome-ignore format: a table of 16 by 16
const CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
]
const EOS = 256

const codes = new Uint32Array(257)
const lengths = new Uint8Array(CODE_LENGTHS)

/** Decoder states are inner nodes of the code tree; a state and four bits give the next state and perhaps an octet. */
const NEXT_MASK = 0xff
const EMIT = 0x100
const FAIL = 0x200
const SYMBOL_SHIFT = 16
const transitions = new Int32Array(256 * 16)
/** 1 where input may end: at the root, or after up to 7 bits that are all ones (a prefix of EOS). */
const accepting = new Uint8Array(256)

buildTables()

function buildTables(): void {
  const order = Array.from({ length: 257 }, (_, symbol) => symbol)
  order.sort((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b)
  let code = 0
  let previous = 0
  for (const symbol of order) {
    const length = lengths[symbol] as number
    code *= 2 ** (length - previous)
    previous = length
    codes[symbol] = code++
  }
  // Tree: children[2 * node + bit] = inner node, or -1 - symbol for a leaf.
  const children = new Int16Array(2 * 256)
  let nodes = 1
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0
    const length = lengths[symbol] as number
    for (let bit = length - 1; bit > 0; bit--) {
      const edge = 2 * node + (((codes[symbol] as number) >>> bit) & 1)
      if (children[edge] === 0) children[edge] = nodes++
      node = children[edge] as number
    }
    children[2 * node + ((codes[symbol] as number) & 1)] = -1 - symbol
  }
  for (let state = 0; state < nodes; state++) {
    for (let nibble = 0; nibble < 16; nibble++) transitions[state * 16 + nibble] = step(children, state, nibble)
  }
  let node = 0
  for (let bits = 0; bits <= 7; bits++) {
    accepting[node] = 1
    node = children[2 * node + 1] as number
  }
}

/** Four bits are less than the shortest code (five), so at most one octet falls out. */
function step(children: Int16Array, state: number, nibble: number): number {
  let node = state
  let emitted = 0
  for (let bit = 3; bit >= 0; bit--) {
    const child = children[2 * node + ((nibble >>> bit) & 1)] as number
    if (child >= 0) {
      node = child
      continue
    }
    const symbol = -1 - child
    // RFC 7541 §5.2: a string with the EOS symbol in it "MUST be treated as a decoding error"
    if (symbol === EOS) return FAIL
    emitted = EMIT | (symbol << SYMBOL_SHIFT)
    node = 0
  }
  return emitted | node
}

/** Bytes that `huffmanEncode` will write for a string of latin1 characters. */
export function huffmanLength(text: string): number {
  let bits = 0
  for (let i = 0; i < text.length; i++) bits += lengths[text.charCodeAt(i) & 0xff] as number
  return (bits + 7) >>> 3
}

/** Writes the code of `text` (latin1) at `offset` and returns the offset behind it. The caller has made room. */
export function huffmanEncode(text: string, out: Uint8Array, offset: number): number {
  let pending = 0
  let pendingBits = 0
  let at = offset
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff
    let code = codes[symbol] as number
    let length = lengths[symbol] as number
    // Codes have up to 30 bits and 7 may be pending: long ones go in two parts to stay within 32 bits.
    if (length > 24) {
      const low = length - 16
      pending = (pending << 16) | (code >>> low)
      pendingBits += 16
      while (pendingBits >= 8) {
        pendingBits -= 8
        out[at++] = (pending >>> pendingBits) & 0xff
      }
      code &= (1 << low) - 1
      length = low
    }
    pending = (pending << length) | code
    pendingBits += length
    while (pendingBits >= 8) {
      pendingBits -= 8
      out[at++] = (pending >>> pendingBits) & 0xff
    }
    pending &= 0xff
  }
  // RFC 7541 §5.2: padding is "the most significant bits of the code for the EOS symbol": ones.
  if (pendingBits > 0) out[at++] = ((pending << (8 - pendingBits)) | (0xff >>> pendingBits)) & 0xff
  return at
}

/**
 * Decodes `bytes[start, end)` into `out` from 0 and returns the number of octets, -1 when the input is not a valid code,
 * or -2 when `out` is too small.
 */
export function huffmanDecode(bytes: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let state = 0
  let count = 0
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    let entry = transitions[(state << 4) | (byte >>> 4)] as number
    if ((entry & EMIT) !== 0) {
      if (count >= out.length) return -2
      out[count++] = entry >>> SYMBOL_SHIFT
    } else if ((entry & FAIL) !== 0) return -1
    entry = transitions[((entry & NEXT_MASK) << 4) | (byte & 0x0f)] as number
    if ((entry & EMIT) !== 0) {
      if (count >= out.length) return -2
      out[count++] = entry >>> SYMBOL_SHIFT
    } else if ((entry & FAIL) !== 0) return -1
    state = entry & NEXT_MASK
  }
  // RFC 7541 §5.2: padding of more than 7 bits, or not of ones, "MUST be treated as a decoding error"
  return accepting[state] === 1 ? count : -1
}
