/** The capture file: block structure, order of secrets and packets, bounds. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createTuple } from '@quicether/transport'
import { PcapngWriter } from './pcapng-writer.ts'

const directory = mkdtempSync(join(tmpdir(), 'quicether-pcapng-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const EPOCH_US = 1_800_000_000_000_000
const keyLine = `CLIENT_TRAFFIC_SECRET_0 ${'ab'.repeat(32)} ${'cd'.repeat(32)}`
const v4 = createTuple({
  localAddress: '10.0.0.1',
  localPort: 443,
  remoteAddress: '10.0.0.2',
  remotePort: 5000,
  interfaceIndex: 2,
  socket: 0,
})
const v6 = createTuple({
  localAddress: '2001:db8::1',
  localPort: 443,
  remoteAddress: '2001:db8::2',
  remotePort: 5000,
  interfaceIndex: 3,
  socket: 0,
})

interface Block {
  readonly type: number
  readonly body: Buffer
}

/** A reader of its own: follows the lengths and checks that both ends of each block agree. */
function readBlocks(path: string): Block[] {
  const bytes = readFileSync(path)
  const blocks: Block[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4)
    assert.equal(length % 4, 0)
    assert.ok(at + length <= bytes.length, 'the last block is whole')
    assert.equal(bytes.readUInt32LE(at + length - 4), length)
    blocks.push({ type: bytes.readUInt32LE(at), body: bytes.subarray(at + 8, at + length - 4) })
    at += length
  }
  return blocks
}

const types = (path: string) => readBlocks(path).map((block) => block.type)
const open = (name: string, options: { snapBytes?: number; bufferBytesMax?: number } = {}) =>
  new PcapngWriter({ path: join(directory, name), epochOffsetUs: EPOCH_US, ...options })

test('secrets that a packet brings about stand before that packet', async () => {
  const writer = open('order')
  writer.datagram('received', v4, Buffer.from('hello'), 0, 5, 0, 10)
  // The engine handles the packet now, in the same turn of the loop, and TLS reports a secret.
  writer.keylogLine(keyLine)
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  writer.datagram('sent', v4, Buffer.from('later'), 0, 5, 0, 20)
  await writer.close()
  const blocks = readBlocks(writer.path)
  assert.deepEqual(types(writer.path), [0x0a0d0d0a, 10, 1, 6, 6, 5])
  assert.equal(blocks[1]?.body.toString('utf8', 8, 8 + keyLine.length), keyLine)
  assert.equal(statSync(writer.path).mode & 0o777, 0o600)
})

test('packets keep their bytes, time, direction and interface', async () => {
  const writer = open('packets')
  writer.datagram('received', v4, Buffer.from('..payload..'), 2, 7, 1, 1_234_567)
  writer.datagram('sent', v6, Buffer.from('six'), 0, 3, 2, 5_000_000_000)
  await writer.close()
  const blocks = readBlocks(writer.path)
  const [first, second] = blocks.filter((block) => block.type === 6).map((block) => block.body)
  assert.ok(first && second)
  assert.deepEqual([first.readUInt32LE(0), second.readUInt32LE(0)], [0, 1])
  const epochUs = (body: Buffer) => body.readUInt32LE(4) * 2 ** 32 + body.readUInt32LE(8)
  assert.deepEqual([epochUs(first), epochUs(second)], [EPOCH_US + 1_234_567, EPOCH_US + 5_000_000_000])
  assert.deepEqual([first.readUInt32LE(12), first.readUInt32LE(16)], [35, 35])
  assert.equal(first.toString('latin1', 20 + 28, 20 + 35), 'payload')
  assert.equal(second.toString('latin1', 20 + 48, 20 + 51), 'six')
  const flags = (body: Buffer) => body.readUInt32LE(20 + ((body.readUInt32LE(12) + 3) & ~3) + 4)
  assert.deepEqual([flags(first), flags(second)], [1, 2])
})

test('a snap length keeps the true length of the packet', async () => {
  const writer = open('snapped', { snapBytes: 10 })
  writer.datagram('sent', v4, Buffer.alloc(1_200, 7), 0, 1_200, 0, 0)
  await writer.close()
  const packet = readBlocks(writer.path).find((block) => block.type === 6)
  assert.deepEqual([packet?.body.readUInt32LE(12), packet?.body.readUInt32LE(16)], [38, 1_228])
})

test('a flood beyond the buffer is left out, counted in the file, and later packets are kept again', async () => {
  const writer = open('flood', { bufferBytesMax: 2 * 1024 * 1024 })
  const datagram = Buffer.alloc(1_350, 1)
  // One turn of the event loop: the disk cannot take anything meanwhile.
  for (let at = 0; at < 5_000; at++) writer.datagram('received', v4, datagram, 0, datagram.length, 0, at)
  const dropped = writer.packetsDropped
  assert.ok(dropped > 3_000 && dropped < 4_000, `${dropped}`)
  writer.keylogLine(keyLine)
  await new Promise((resolve) => setTimeout(resolve, 200))
  writer.datagram('received', v4, datagram, 0, datagram.length, 0, 6_000)
  await writer.close()
  const blocks = readBlocks(writer.path)
  const packets = blocks.filter((block) => block.type === 6)
  assert.equal(packets.length, 5_001 - writer.packetsDropped)
  assert.ok(
    blocks.some((block) => block.type === 10),
    'secrets survive the flood',
  )
  const last = packets.at(-1)?.body
  const optionsAt = 20 + ((1_378 + 3) & ~3)
  assert.equal(last?.readUInt16LE(optionsAt + 8), 4)
  assert.equal(last?.readUInt32LE(optionsAt + 12), dropped)
})

test('interfaces are bounded, and more of them than the limit still give a valid file', async () => {
  const writer = open('interfaces')
  for (let interfaceIndex = 0; interfaceIndex < 200; interfaceIndex++) {
    writer.datagram('sent', createTuple({ ...v4, interfaceIndex }), Buffer.from('x'), 0, 1, 0, 0)
  }
  await writer.close()
  const blocks = readBlocks(writer.path)
  assert.equal(blocks.filter((block) => block.type === 1).length, 64)
  assert.equal(blocks.filter((block) => block.type === 6).length, 200)
})

test('a full disk ends the capture with one warning and nothing else', {
  skip: !existsSync('/dev/full') && 'no /dev/full here',
}, async () => {
  const warnings: string[] = []
  const writer = new PcapngWriter({
    path: '/dev/full',
    epochOffsetUs: EPOCH_US,
    onWarning: (text) => warnings.push(text),
  })
  for (let at = 0; at < 2_000; at++) {
    writer.datagram('sent', v4, Buffer.alloc(1_200), 0, 1_200, 0, at)
    if (at % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await writer.close()
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', /^capture stopped: .*no space left/)
})

test('nothing is written after close', async () => {
  const writer = open('closed')
  writer.datagram('sent', v4, Buffer.from('x'), 0, 1, 0, 0)
  await writer.close()
  const size = statSync(writer.path).size
  writer.datagram('sent', v4, Buffer.from('x'), 0, 1, 0, 0)
  writer.keylogLine(keyLine)
  await writer.close()
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  assert.equal(statSync(writer.path).size, size)
})
