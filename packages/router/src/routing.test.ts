/** Tests of routing: which service a request reaches, and what it is told when it reaches none. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseConfig } from './config/load.ts'
import { type NoRoute, type Route, RouteTable } from './routing.ts'

function tableOf(...services: readonly (readonly [name: string, prefix: string, extra?: string])[]): RouteTable {
  const toml = services.map(
    ([name, prefix, extra = '']) => `[[service]]\nname = "${name}"\nprefix = "${prefix}"\nurl = "http://h"\n${extra}\n`,
  )
  return new RouteTable(parseConfig(toml.join('\n'), 'test.toml').service)
}

interface Ask {
  readonly method?: string
  readonly authority?: string
  readonly headers?: readonly (readonly [string, string])[]
}

function find(table: RouteTable, path: string, ask: Ask = {}): Route | NoRoute {
  return table.find(path, { method: 'GET', authority: 'router.test', headers: [], ...ask })
}

function nameOf(found: Route | NoRoute): string {
  return 'service' in found ? found.service.name : `${found.status} ${found.kind}`
}

const byPath = tableOf(['root', '/'], ['video', '/video'], ['live', '/video/live/', 'strip_prefix = true'])

for (const [path, name, target] of [
  ['/video', 'video', '/video'],
  ['/video/a?x=/video/live', 'video', '/video/a?x=/video/live'],
  ['/videos', 'root', '/videos'],
  ['/video/live', 'live', '/'],
  ['/video/live?x=1', 'live', '/?x=1'],
  ['/video/live/cam/1?x', 'live', '/cam/1?x'],
  ['/', 'root', '/'],
  ['/%76ideo/a%2fb'.replace('%2f', '%20'), 'video', '/video/a%20b'],
  ['/video/l%69ve/x', 'live', '/x'],
  ['/caf%c3%a9', 'root', '/caf%C3%A9'],
  ['/a?q=%2e%2e/..', 'root', '/a?q=%2e%2e/..'],
  ['/a...b/..c', 'root', '/a...b/..c'],
] as const) {
  test(`${path} goes to ${name} as ${target}`, () => {
    const found = find(byPath, path)
    assert.equal(nameOf(found), name)
    assert.equal('target' in found ? found.target : undefined, target)
  })
}

for (const [path, problem] of [
  ['/video/../control', /"\.\." segment/u],
  ['/video/%2e%2E/x', /"\.\." segment/u],
  ['/video/.%2e', /"\.\." segment/u],
  ['/video/..%2fcontrol', /"\.\." segment/u],
  ['/./a', /"\." or/u],
  ['/a%2fb', /escaped "\/"/u],
  ['/a%5Cb', /escaped "\/"/u],
  ['/a\\b', /backslash/u],
  ['/a%00b', /control character/u],
  ['/a%0d%0aset-cookie:x', /control character/u],
  ['/a%zz', /without two hexadecimal digits/u],
  ['/a%4', /without two hexadecimal digits/u],
  ['/a%ff', /not valid UTF-8/u],
  ['/a%c3', /not valid UTF-8/u],
  ['/a#b', /fragment/u],
  ['video', /does not begin/u],
  ['*', /does not begin/u],
] as const) {
  test(`${path} is refused with the reason`, () => {
    const found = find(byPath, path)
    assert.equal(nameOf(found), '400 bad-path')
    assert.match('message' in found ? found.message : '', problem)
  })
}

test('a service that says so gets escaped slashes, but never dot segments behind them', () => {
  const table = tableOf(['api', '/api', 'encoded_slashes = true'])
  const found = find(table, '/api/a%2fb')
  assert.equal('target' in found ? found.target : undefined, '/api/a%2Fb')
  assert.equal(nameOf(find(table, '/api/a%2f..%2fb')), '400 bad-path')
})

test('whatever the path, a service gets only what is under its prefix, in one meaning', () => {
  const table = tableOf(['api', '/api', 'encoded_slashes = true'])
  const piece = fc.constantFrom('/', 'api', '..', '.', '%2e', '%2E', '%2f', '%5c', '\\', 'a', '%61', '%25', '?', 'x')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const found = find(table, `/${pieces.join('')}`)
      if (!('target' in found)) return
      const bare = found.target.split('?')[0] ?? ''
      const resolved = new URL(bare.replaceAll(/%2f|%5c/giu, '/'), 'http://h').pathname
      assert.ok(resolved === '/api' || resolved.startsWith('/api/'), `${bare} is ${resolved}`)
    }),
    { numRuns: 500 },
  )
})

test('an exact host goes before a wildcard, a longer wildcard before a shorter one, and both before any host', () => {
  const table = tableOf(
    ['any', '/'],
    ['wide', '/', 'hosts = ["*.example.com"]'],
    ['narrow', '/', 'hosts = ["*.eu.example.com"]'],
    ['exact', '/', 'hosts = ["a.eu.example.com", "example.com"]'],
  )
  for (const [authority, name] of [
    ['example.com', 'exact'],
    ['EXAMPLE.com:4433', 'exact'],
    ['a.eu.example.com.', 'exact'],
    ['b.eu.example.com', 'narrow'],
    ['x.example.com', 'wide'],
    ['x.y.example.com', 'wide'],
    ['badexample.com', 'any'],
    ['[::1]:4433', 'any'],
  ] as const) {
    assert.equal(nameOf(find(table, '/', { authority })), name, authority)
  }
})

test('a longer prefix of any host does not hide what a host has for itself', () => {
  const table = tableOf(['any', '/video'], ['own', '/', 'hosts = ["example.com"]'])
  assert.equal(nameOf(find(table, '/video', { authority: 'example.com' })), 'own')
  assert.equal(nameOf(find(table, '/video', { authority: 'other.com' })), 'any')
})

test('a host that no service takes is misdirected', () => {
  const table = tableOf(['a', '/', 'hosts = ["example.com"]'])
  assert.equal(nameOf(find(table, '/', { authority: 'other.com' })), '421 unknown-host')
})

test('a method that the path does not take is told which are', () => {
  const table = tableOf(['read', '/a', 'methods = ["GET", "HEAD"]'], ['write', '/a', 'methods = ["POST"]'])
  assert.equal(nameOf(find(table, '/a', { method: 'POST' })), 'write')
  const found = find(table, '/a', { method: 'DELETE' })
  assert.equal(nameOf(found), '405 method-not-allowed')
  assert.equal('allow' in found ? found.allow : undefined, 'GET, HEAD, POST')
})

test('fields choose between services of one prefix, the more conditions the sooner', () => {
  const table = tableOf(
    ['plain', '/a'],
    ['beta', '/a', 'headers = { x-beta = "1" }'],
    ['both', '/a', 'headers = { x-beta = "1", x-user = "*" }'],
  )
  assert.equal(nameOf(find(table, '/a')), 'plain')
  assert.equal(nameOf(find(table, '/a', { headers: [['x-beta', '0']] })), 'plain')
  assert.equal(nameOf(find(table, '/a', { headers: [['x-beta', '1']] })), 'beta')
  const headers = [
    ['x-beta', '1'],
    ['x-user', 'me'],
  ] as const
  assert.equal(nameOf(find(table, '/a', { headers })), 'both')
})

test('a path that no service takes is told which are routed', () => {
  const found = find(tableOf(['api', '/api'], ['v', '/v']), '/elsewhere')
  assert.equal(nameOf(found), '404 no-route')
  assert.match('message' in found ? found.message : '', /routed: \/api, \/v/u)
})
