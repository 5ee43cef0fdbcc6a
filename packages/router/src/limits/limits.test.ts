/** Tests of rate limits: who is told to wait, for how long, and that strangers cannot fill the memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CountWindow } from '../upstream/window.ts'
import { RateLimiter } from './rate-limiter.ts'
import { keyOf } from './request-key.ts'

const base = { requests_per_second: 10, burst: 3, key: 'address', keys: 100 } as const

test('a burst goes through, then one request for each tenth of a second', () => {
  const limiter = new RateLimiter(base)
  assert.deepEqual(
    [0, 0, 0, 0].map(() => limiter.take('a', 0)),
    [0, 0, 0, 100],
  )
  assert.equal(limiter.take('b', 0), 0)
  assert.equal(limiter.take('a', 50), 50)
  assert.equal(limiter.take('a', 100), 0)
  assert.ok(limiter.take('a', 101) > 0)
  assert.deepEqual(
    [0, 0, 0, 0].map(() => limiter.take('a', 10_000)),
    [0, 0, 0, 100],
  )
})

test('keys beyond the limit push out those not seen for longest', () => {
  const limiter = new RateLimiter({ ...base, keys: 3, burst: 1 })
  for (const key of ['a', 'b', 'c', 'a', 'd']) limiter.take(key, 0)
  assert.equal(limiter.size, 3)
  assert.ok(limiter.take('a', 0) > 0)
  assert.equal(limiter.take('b', 0), 0)
})

const request = {
  client: '2001:db8:1:2:3::9',
  authority: 'A.example:443',
  path: '/p?q',
  headers: [
    ['x-user', 'me'],
    ['cookie', 'a=1; sid=xyz'],
    ['cookie', 'b=2'],
  ],
} as const

for (const [key, value] of [
  ['address', '2001:db8:1:2'],
  ['path', '/p?q'],
  ['host', 'a.example'],
  ['header:x-user', 'me'],
  ['header:x-none', ''],
  ['cookie:sid', 'xyz'],
  ['cookie:b', '2'],
  ['cookie:none', ''],
] as const) {
  test(`the key ${key} is ${JSON.stringify(value)}`, () => assert.equal(keyOf(key, request), value))
}

test('IPv4 clients are told apart by the whole address, IPv6 clients by their network', () => {
  const of = (client: string): string => keyOf('address', { ...request, client })
  assert.equal(of('192.0.2.7'), '192.0.2.7')
  assert.equal(of('2001:db8::1'), of('2001:db8:0:0:ffff::2'))
  assert.notEqual(of('2001:db8::1'), of('2001:db8:0:1::1'))
  assert.equal(of('::1'), '0:0:0:0')
})

test('a window forgets what is older than its time', () => {
  const window = new CountWindow(1_000)
  for (let at = 0; at < 10; at++) window.add(at * 100, at % 2 === 0)
  assert.equal(window.total(900), 10)
  assert.equal(window.marked(900), 5)
  assert.equal(window.total(1_450), 5)
  assert.equal(window.total(5_000), 0)
})
