/** Changes inputs a little: the bit, byte, integer and splice mutations of a fuzzer. */
import type { Random } from './random.ts'

const interestingBytes = [0x00, 0x01, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff] as const

/** Varints around the borders of their encodings and of what parsers may compute with them. */
const interestingVarints = [
  '00',
  '3f',
  '4040',
  '7fff',
  '80004000',
  'bfffffff',
  'c000000040000000',
  'c01fffffffffffff',
  'c020000000000000',
  'd000000000000001',
  'ffffffffffffffff',
  // Overlong forms of small values.
  '4001',
  '80000001',
  'c000000000000000',
].map((text) => Uint8Array.from(Buffer.from(text, 'hex')))

export interface MutateOptions {
  readonly bytesMax: number
  readonly dictionary: readonly Uint8Array[]
  /** Another input, for splices. */
  readonly other: Uint8Array
}

type Mutation = (input: Uint8Array, random: Random, options: MutateOptions) => Uint8Array

/** One to eight mutations, one after another; never longer than `bytesMax`. */
export function mutate(input: Uint8Array, random: Random, options: MutateOptions): Uint8Array {
  let output = input
  const rounds = 1 + random.below(random.below(8) + 1)
  for (let round = 0; round < rounds; round++) output = random.pick(mutations)(output, random, options)
  return output.length > options.bytesMax ? output.slice(0, options.bytesMax) : output
}

const flipBit: Mutation = (input, random) => change(input, random, (byte) => byte ^ (1 << random.below(8)))
const setByte: Mutation = (input, random) => change(input, random, () => random.below(256))
const setInteresting: Mutation = (input, random) => change(input, random, () => random.pick(interestingBytes))
const addSmall: Mutation = (input, random) => change(input, random, (byte) => byte + random.below(17) - 8)

const overwriteVarint: Mutation = (input, random) => {
  const varint = random.pick(interestingVarints)
  const at = random.below(input.length + 1)
  return concat(input.subarray(0, at), varint, input.subarray(Math.min(input.length, at + varint.length)))
}

const insertVarint: Mutation = (input, random) => insert(input, random, random.pick(interestingVarints))

const insertWord: Mutation = (input, random, { dictionary }) =>
  insert(input, random, dictionary.length === 0 ? random.pick(interestingVarints) : random.pick(dictionary))

const insertRandom: Mutation = (input, random) =>
  insert(
    input,
    random,
    Uint8Array.from({ length: 1 + random.below(16) }, () => random.below(256)),
  )

const remove: Mutation = (input, random) => {
  const [from, to] = range(input, random)
  return concat(input.subarray(0, from), input.subarray(to))
}

const duplicate: Mutation = (input, random) => {
  const [from, to] = range(input, random)
  return insert(input, random, input.subarray(from, to))
}

const truncate: Mutation = (input, random) => input.slice(0, random.below(input.length + 1))

const splice: Mutation = (input, random, { other }) => {
  const [from, to] = range(other, random)
  return insert(input, random, other.subarray(from, to))
}

const crossOver: Mutation = (input, random, { other }) =>
  concat(input.subarray(0, random.below(input.length + 1)), other.subarray(random.below(other.length + 1)))

const mutations: readonly Mutation[] = [
  flipBit,
  setByte,
  setInteresting,
  addSmall,
  overwriteVarint,
  insertVarint,
  insertWord,
  insertRandom,
  remove,
  duplicate,
  truncate,
  splice,
  crossOver,
]

function change(input: Uint8Array, random: Random, edit: (byte: number) => number): Uint8Array {
  if (input.length === 0) return Uint8Array.of(edit(0) & 255)
  const output = input.slice()
  const at = random.below(output.length)
  output[at] = edit(output[at] as number) & 255
  return output
}

function insert(input: Uint8Array, random: Random, piece: Uint8Array): Uint8Array {
  const at = random.below(input.length + 1)
  return concat(input.subarray(0, at), piece, input.subarray(at))
}

function range(input: Uint8Array, random: Random): [number, number] {
  const from = random.below(input.length + 1)
  return [from, from + random.below(Math.min(64, input.length - from) + 1)]
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const output = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    output.set(part, at)
    at += part.length
  }
  return output
}
