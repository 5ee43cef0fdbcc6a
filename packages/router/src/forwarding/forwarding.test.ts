/** Tests of what services are told about clients, and whose word is taken for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HeaderList } from '../exchange.ts'
import { TrustedProxies } from './client-address.ts'
import { type Hop, passedTrailers, requestHeaders, responseHeaders } from './headers.ts'

const noProxies = new TrustedProxies([])
const proxies = new TrustedProxies(['10.0.0.0/8', '2001:db8::/32', '192.0.2.1'])

function told(headers: HeaderList, change: Partial<Hop> = {}): Map<string, string> {
  const hop: Hop = {
    authority: 'a.example',
    client: noProxies.resolve('198.51.100.7', headers),
    version: '3',
    hasBody: false,
    forwarding: 'both',
    mayTellTe: false,
    ...change,
  }
  return new Map(requestHeaders(headers, hop))
}

const claims: HeaderList = [
  ['x-forwarded-for', '203.0.113.5'],
  ['x-forwarded-proto', 'gopher'],
  ['x-forwarded-host', 'evil.example'],
  ['x-real-ip', '203.0.113.5'],
  ['forwarded', 'for=203.0.113.5'],
]

test('a stranger cannot say who he is or where he came from', () => {
  const headers = told(claims)
  assert.equal(headers.get('x-forwarded-for'), '198.51.100.7')
  assert.equal(headers.get('x-forwarded-proto'), 'https')
  assert.equal(headers.get('x-forwarded-host'), 'a.example')
  assert.equal(headers.get('x-real-ip'), undefined)
  assert.equal(headers.get('forwarded'), 'for=198.51.100.7;host=a.example;proto=https')
})

test('what a trusted proxy says goes on, with the proxy added', () => {
  const headers = told(claims, { client: proxies.resolve('10.1.2.3', claims) })
  assert.equal(headers.get('x-forwarded-for'), '203.0.113.5, 10.1.2.3')
  assert.equal(headers.get('x-forwarded-proto'), 'gopher')
  assert.equal(headers.get('x-forwarded-host'), 'evil.example')
  assert.equal(headers.get('forwarded'), 'for=203.0.113.5, for=10.1.2.3;host=a.example;proto=https')
})

test('IPv6 addresses and authorities with ports are quoted as RFC 7239 wants it', () => {
  const client = noProxies.resolve('2001:db8::1', [])
  const headers = told([], { client, authority: 'a.example:4433', forwarding: 'forwarded' })
  assert.equal(headers.get('forwarded'), 'for="[2001:db8::1]";host="a.example:4433";proto=https')
  assert.equal(headers.has('x-forwarded-for'), false)
})

for (const [peer, lines, client] of [
  ['198.51.100.7', [['x-forwarded-for', '203.0.113.5']], '198.51.100.7'],
  ['10.0.0.1', [['x-forwarded-for', '203.0.113.5']], '203.0.113.5'],
  ['10.0.0.1', [['x-forwarded-for', '6.6.6.6, 203.0.113.5, 10.9.9.9']], '203.0.113.5'],
  ['10.0.0.1', [['x-forwarded-for', '6.6.6.6, nonsense, 10.9.9.9']], '10.9.9.9'],
  ['10.0.0.1', [['forwarded', 'for=6.6.6.6, for="[2001:db9::1]:80";proto=http']], '2001:db9::1'],
  ['2001:db8::5', [['x-forwarded-for', '10.1.1.1']], '10.1.1.1'],
  ['192.0.2.1', [], '192.0.2.1'],
] as const satisfies readonly (readonly [string, HeaderList, string])[]) {
  test(`behind ${peer} with ${JSON.stringify(lines)} the client is ${client}`, () => {
    assert.equal(proxies.resolve(peer, lines).client, client)
  })
}

test('fields of one hop end at the router, and those that Connection names', () => {
  const headers = told([
    ['connection', 'x-own, keep-alive'],
    ['x-own', '1'],
    ['te', 'trailers'],
    ['upgrade', 'h2c'],
    ['http2-settings', 'x'],
    ['expect', '100-continue'],
    ['accept', '*/*'],
  ])
  assert.deepEqual(
    [...headers.keys()],
    ['accept', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'forwarded', 'via'],
  )
  assert.equal(told([['te', 'trailers']], { mayTellTe: true }).get('te'), 'trailers')
})

test('trailers that would change framing, routing or authentication are left out', () => {
  const lines: HeaderList = [
    ['grpc-status', '0'],
    ['content-length', '5'],
    ['host', 'x'],
    ['authorization', 'x'],
    ['x-forwarded-for', 'x'],
    ['transfer-encoding', 'chunked'],
  ]
  assert.deepEqual(passedTrailers(lines), [['grpc-status', '0']])
})

test('a response names the router and loses what belongs to its hop', () => {
  const lines: HeaderList = [
    ['connection', 'close'],
    ['transfer-encoding', 'chunked'],
    ['set-cookie', 'a=1'],
    ['set-cookie', 'b=2'],
  ]
  assert.deepEqual(responseHeaders(lines, '2'), [
    ['set-cookie', 'a=1'],
    ['set-cookie', 'b=2'],
    ['via', '2 quicether'],
  ])
})
