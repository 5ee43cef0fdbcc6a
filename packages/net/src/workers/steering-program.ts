/** The classic BPF program that steers datagrams to workers: reads the connection ID, hashes it, returns an index. */
import { HALF_SIP_LENGTH_WORD, HALF_SIP_ROUNDS, halfSipRound, halfSipStart } from './half-sip-hash.ts'

/** Codes of linux/bpf_common.h that are used here. */
export const Bpf = {
  LoadByte: 0x30,
  LoadWord: 0x20,
  LoadImmediate: 0x00,
  LoadMemory: 0x60,
  LoadIndexMemory: 0x61,
  Store: 0x02,
  AddIndex: 0x0c,
  OrIndex: 0x4c,
  XorIndex: 0xac,
  XorImmediate: 0xa4,
  ShiftLeft: 0x64,
  ShiftRight: 0x74,
  Modulo: 0x94,
  Jump: 0x05,
  JumpIfSet: 0x45,
  ReturnA: 0x16,
} as const

/** Scratch memory: the state in the first four words, then the two words of the ID and one to turn with. */
const FIRST = 4
const SECOND = 5
const SPARE = 6

class Assembler {
  readonly #words: number[] = []

  /** Appends one instruction; `yes` and `no` are the instructions to skip after a test. */
  put(code: number, k = 0, yes = 0, no = 0): void {
    this.#words.push((code << 16) | (yes << 8) | no, k | 0)
  }

  add(to: number, from: number): void {
    this.put(Bpf.LoadMemory, to)
    this.put(Bpf.LoadIndexMemory, from)
    this.put(Bpf.AddIndex)
    this.put(Bpf.Store, to)
  }

  turn(of: number, by: number, mixed: number | undefined): void {
    this.put(Bpf.LoadMemory, of)
    this.put(Bpf.ShiftRight, 32 - by)
    this.put(Bpf.Store, SPARE)
    this.put(Bpf.LoadMemory, of)
    this.put(Bpf.ShiftLeft, by)
    this.put(Bpf.LoadIndexMemory, SPARE)
    this.put(Bpf.OrIndex)
    if (mixed !== undefined) {
      this.put(Bpf.LoadIndexMemory, mixed)
      this.put(Bpf.XorIndex)
    }
    this.put(Bpf.Store, of)
  }

  xorWith(state: number, word: number | undefined, immediate = 0): void {
    this.put(Bpf.LoadMemory, state)
    if (word === undefined) this.put(Bpf.XorImmediate, immediate)
    else {
      this.put(Bpf.LoadIndexMemory, word)
      this.put(Bpf.XorIndex)
    }
    this.put(Bpf.Store, state)
  }

  rounds(count: number): void {
    for (let round = 0; round < count; round++) {
      for (const operation of halfSipRound) {
        if (operation.kind === 'add') this.add(operation.to, operation.from)
        else this.turn(operation.of, operation.by, operation.with)
      }
    }
  }

  words(): Int32Array {
    return Int32Array.from(this.#words)
  }
}

/** Two words an instruction. A datagram that is too short for an ID goes to worker 0: a load beyond its end returns 0. */
export function steeringProgram(key0: number, key1: number, count: number): Int32Array {
  const assembler = new Assembler()
  // RFC 8999 §5.1 and §5.2: the ID begins at byte 6 of a long header and at byte 1 of a short one.
  assembler.put(Bpf.LoadByte, 0)
  assembler.put(Bpf.JumpIfSet, 0x80, 0, 5)
  for (const [at, skip] of [
    [6, 4],
    [1, 0],
  ] as const) {
    assembler.put(Bpf.LoadWord, at)
    assembler.put(Bpf.Store, FIRST)
    assembler.put(Bpf.LoadWord, at + 4)
    assembler.put(Bpf.Store, SECOND)
    if (skip > 0) assembler.put(Bpf.Jump, skip)
  }
  for (const [state, value] of halfSipStart(key0, key1).entries()) {
    assembler.put(Bpf.LoadImmediate, value)
    assembler.put(Bpf.Store, state)
  }
  for (const word of [FIRST, SECOND, undefined]) {
    assembler.xorWith(3, word, HALF_SIP_LENGTH_WORD)
    assembler.rounds(HALF_SIP_ROUNDS.word)
    assembler.xorWith(0, word, HALF_SIP_LENGTH_WORD)
  }
  assembler.xorWith(2, undefined, 0xff)
  assembler.rounds(HALF_SIP_ROUNDS.end)
  assembler.put(Bpf.LoadMemory, 1)
  assembler.put(Bpf.LoadIndexMemory, 3)
  assembler.put(Bpf.XorIndex)
  assembler.put(Bpf.Modulo, count)
  assembler.put(Bpf.ReturnA)
  return assembler.words()
}
