/** Interning of tuples and the spelling of addresses. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Address } from '@quicether/native'
import fc from 'fast-check'
import { canonicalIp, formatIp, writeIp } from './ip-address.ts'
import { remoteWords, TupleTable } from './tuple-table.ts'

const server = { socket: 3, address: '0.0.0.0', port: 4433, isPinned: true }

function words(remote: string, port: number, local = '127.0.0.1'): Int32Array {
  const address = remoteWords(remote, port, 0)
  address[Address.LocalFamily] = writeIp(local, address, Address.LocalIp)
  address[Address.Interface] = 1
  return address
}

test('any address survives the way through words and back in its canonical spelling', () => {
  const check = (address: string) => {
    const array = new Int32Array(5)
    const family = writeIp(address, array, 1)
    assert.equal(formatIp(family, array, 1), canonicalIp(address))
  }
  fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), check))
})

for (const [given, canonical] of [
  ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['10.0.0.1', '10.0.0.1'],
] as const) {
  test(`${given} is spelt ${canonical}`, () => assert.equal(canonicalIp(given), canonical))
}

test('the same addresses are the same tuple, whatever came between', () => {
  const table = new TupleTable(server)
  const first = table.intern(words('10.0.0.1', 5000), 0)
  const other = table.intern(words('10.0.0.1', 5001), 0)
  const third = table.intern(words('10.0.0.1', 5000, '127.0.0.2'), 0)
  assert.equal(table.intern(words('10.0.0.1', 5000), 0), first)
  assert.notEqual(first.key, other.key)
  assert.notEqual(first.key, third.key)
  assert.deepEqual(
    [first.localAddress, first.localPort, first.remoteAddress, first.remotePort, first.socket],
    ['127.0.0.1', 4433, '10.0.0.1', 5000, 3],
  )
})

test('a client whose source address the kernel chooses keeps one tuple and pins nothing', () => {
  const table = new TupleTable({ socket: 0, address: '192.0.2.5', port: 999, isPinned: false })
  const asked = table.intern(remoteWords('10.0.0.1', 4433, 0), 0)
  assert.equal(table.intern(words('10.0.0.1', 4433, '192.0.2.6'), 0), asked)
  assert.equal(asked.localAddress, '192.0.2.5')
  assert.equal(asked.route[Address.LocalFamily], 0)
})

test('a flood of spoofed sources cannot grow the table, and a peer in use keeps its tuple', () => {
  const table = new TupleTable(server)
  const active = table.intern(words('10.0.0.1', 5000), 0)
  for (let source = 0; source < 200_000; source++) {
    table.intern(words(`11.${source >>> 16}.${(source >>> 8) & 255}.${source & 255}`, 53), 0)
    if (source % 10_000 === 0) assert.equal(table.intern(words('10.0.0.1', 5000), 0), active)
  }
  assert.ok(table.size <= 65_536, `${table.size} tuples`)
})
