/** The keyed hash, the kernel's program for it, and connection IDs that belong to a worker. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemRandom, UdpSocket } from '@quicether/native'
import fc from 'fast-check'
import { halfSipHash } from './half-sip-hash.ts'
import { Steering, STEERED_BYTES, WORKERS_MAX } from './steering.ts'
import { Bpf, steeringProgram } from './steering-program.ts'

test('the hash is HalfSipHash-1-3', () => {
  // Key 0001…07, input 0001…07, both little-endian: the ninth vector of the kernel's own test of hsiphash.
  assert.equal(halfSipHash(0x03020100, 0x07060504, 0x03020100, 0x07060504), 0x577999b1)
})

/** What the kernel would return for a UDP payload. */
function run(program: Int32Array, payload: Uint8Array): number {
  const memory = new Int32Array(16)
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  let a = 0
  let x = 0
  for (let at = 0; ; at++) {
    const code = (program[at * 2] as number) >>> 16
    const yes = ((program[at * 2] as number) >>> 8) & 0xff
    const no = (program[at * 2] as number) & 0xff
    const k = program[at * 2 + 1] as number
    if (code === Bpf.LoadByte || code === Bpf.LoadWord) {
      const bytes = code === Bpf.LoadByte ? 1 : 4
      if (k + bytes > payload.length) return 0
      a = bytes === 1 ? view.getUint8(k) : view.getInt32(k)
    } else if (code === Bpf.LoadImmediate) a = k
    else if (code === Bpf.LoadMemory) a = memory[k] as number
    else if (code === Bpf.LoadIndexMemory) x = memory[k] as number
    else if (code === Bpf.Store) memory[k] = a
    else if (code === Bpf.AddIndex) a = (a + x) | 0
    else if (code === Bpf.OrIndex) a |= x
    else if (code === Bpf.XorIndex) a ^= x
    else if (code === Bpf.XorImmediate) a ^= k
    else if (code === Bpf.ShiftLeft) a <<= k
    else if (code === Bpf.ShiftRight) a >>>= k
    else if (code === Bpf.Modulo) a = (a >>> 0) % k
    else if (code === Bpf.Jump) at += k
    else if (code === Bpf.JumpIfSet) at += (a & k) !== 0 ? yes : no
    else if (code === Bpf.ReturnA) return a
    else assert.fail(`code ${code.toString(16)}`)
  }
}

const cids = fc.uint8Array({ minLength: STEERED_BYTES, maxLength: STEERED_BYTES })

test('kernel and workers agree on the worker of every connection ID, in short headers and in long ones', () => {
  const key = fc.uint8Array({ minLength: 8, maxLength: 8 })
  fc.assert(
    fc.property(key, cids, fc.integer({ min: 1, max: WORKERS_MAX }), fc.nat(0x7f), (secret, cid, count, low) => {
      const steering = new Steering(secret, count)
      const index = steering.indexOf(cid, 0)
      const program = steering.program()
      const rest = new Uint8Array(20)
      assert.equal(run(program, Uint8Array.of(low, ...cid, ...rest)), index)
      assert.equal(run(program, Uint8Array.of(0x80 | low, 0, 0, 0, 1, 8, ...cid, ...rest)), index)
      assert.equal(run(program, Uint8Array.of(low, 1, 2)), 0)
    }),
  )
})

test('connection IDs belong to the worker they are drawn for, and a stranger sees no pattern in them', () => {
  const steering = new Steering(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), 4)
  const stranger = new Steering(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 9), 4)
  const random = systemRandom()
  for (let index = 0; index < 4; index++) {
    const source = steering.connectionIds(index, random)
    const seen = [0, 0, 0, 0]
    const bits = new Array<number>(64).fill(0)
    for (let i = 0; i < 1000; i++) {
      const cid = new Uint8Array(STEERED_BYTES)
      source.fill(cid)
      assert.equal(steering.indexOf(cid, 0), index)
      seen[stranger.indexOf(cid, 0)] = (seen[stranger.indexOf(cid, 0)] ?? 0) + 1
      for (let bit = 0; bit < 64; bit++) bits[bit] = (bits[bit] ?? 0) + (((cid[bit >> 3] ?? 0) >> (bit & 7)) & 1)
    }
    // More than nine standard deviations off would be a pattern.
    for (const count of seen) assert.ok(Math.abs(count - 250) < 125, `${seen}`)
    for (const count of bits) assert.ok(Math.abs(count - 500) < 145, `${bits}`)
  }
})

test('the largest program is one that the kernel takes', { skip: process.platform !== 'linux' && 'Linux only' }, () => {
  const socket = new UdpSocket({ address: '127.0.0.1', port: 0, reusePort: true })
  const program = steeringProgram(-1, 0x7fffffff, WORKERS_MAX)
  assert.ok(program.length / 2 < 600)
  assert.equal(socket.attachSteering(program), 0)
  socket.close()
})
