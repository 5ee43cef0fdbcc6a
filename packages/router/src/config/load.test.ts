/** Tests of the configuration: what a user gets from good, wrong and broken files. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { UserError } from '../user-error.ts'
import { defaultConfig, loadConfig, parseConfig } from './load.ts'

function errorOf(source: string): UserError {
  try {
    parseConfig(source, 'router.toml')
  } catch (error) {
    assert.ok(error instanceof UserError, String(error))
    return error
  }
  return assert.fail('the configuration was accepted')
}

test('without a file the three demo services are routed and the idle timeout is 5 s', () => {
  const config = defaultConfig()
  assert.deepEqual(
    config.service.map((service) => [service.name, service.prefix, service.url, service.kind]),
    [
      ['video', '/video', 'http://127.0.0.1:5001', 'video'],
      ['text', '/text', 'http://127.0.0.1:5002', 'text'],
      ['control', '/control', 'http://127.0.0.1:5003', 'control'],
    ],
  )
  assert.equal(config.router.port, 4433)
  assert.equal(config.router.idle_timeout_ms, 5_000)
  assert.equal(config.results.interval_ms, 60_000)
})

test('a file with one service keeps every other default', () => {
  const config = parseConfig('[[service]]\nname = "api"\nprefix = "/"\nurl = "http://127.0.0.1:80"\n', 'x.toml')
  assert.equal(config.service[0]?.response_timeout_ms, 10_000)
  assert.equal(config.service[0]?.kind, 'other')
  assert.equal(config.router.port, 4433)
})

for (const [name, source, line, pattern] of [
  ['a text that is not closed', '[router]\nhost = "127', 2, /not valid TOML/u],
  ['a key without a value', '[router]\nport =\n', 2, /not valid TOML/u],
] as const) {
  test(`${name} is reported with file, line and column`, () => {
    const error = errorOf(source)
    assert.equal(error.code, 'ERR_CONFIG_SYNTAX')
    assert.ok(error.where.startsWith(`router.toml:${line}:`), error.where)
    assert.match(error.what, pattern)
    assert.match(error.remedy, /expected/u)
  })
}

const service = (extra: string): string => `[[service]]\nname = "a"\nprefix = "/a"\nurl = "http://h"\n${extra}\n`

for (const [name, source, line, what, remedy] of [
  ['a port as text', '[router]\n\nport = "4433"\n', 3, /`router\.port` is "4433"/u, /port number from 0 to 65535/u],
  ['a port above 65535', '[router]\nport = 70000\n', 2, /is 70000/u, /port number/u],
  ['a misspelt setting', '[router]\nprot = 1\n', 2, /no setting `router\.prot`/u, /Known here: host, port/u],
  ['a misspelt table', '# x\n[ruoter]\n', 2, /no setting `ruoter`/u, /Known here: router, results, diagnostics, /u],
  [
    'a wrong url',
    service('[[service]]\nname = "b"\nprefix = "/b"\nurl = "nowhere"'),
    8,
    /service\[1\]\.url/u,
    /http:\/\//u,
  ],
  ['a service without url', '[[service]]\nname = "a"\nprefix = "/a"\n', 1, /url` is missing/u, /Add `url/u],
  [
    'two equal prefixes',
    service('[[service]]\nname = "b"\nprefix = "/a/"\nurl = "http://h"'),
    7,
    /two services have/u,
    /own/u,
  ],
  [
    'two equal names',
    service('[[service]]\nname = "a"\nprefix = "/b"\nurl = "http://h"'),
    6,
    /two services are/u,
    /own/u,
  ],
  ['a prefix without slash', '[[service]]\nname = "a"\nprefix = "a"\nurl = "http://h"\n', 3, /prefix/u, /begins with/u],
  ['a certificate without key', '[router]\ncertificate = "c.pem"\n', 2, /without `router.private_key`/u, /both/u],
  ['no service at all', 'service = []\n', 1, /no service/u, /\[\[service\]\]/u],
  ['a misspelt admin setting', '[admin]\nlisen = "127.0.0.1:1"\n', 2, /no setting `admin\.lisen`/u, /listen, page/u],
  ['an admin endpoint for everybody', '[admin]\nlisten = "0.0.0.0:1"\n', 2, /admin\.listen/u, /loopback address/u],
  ['an admin endpoint without port', '[admin]\nlisten = "::1"\n', 2, /admin\.listen/u, /with its port/u],
  ['a trace receiver that is no address', '[traces]\nendpoint = "otel"\n', 2, /traces\.endpoint/u, /OTLP/u],
  ['a sample ratio above 1', '[traces]\nsample_ratio = 2\n', 2, /traces\.sample_ratio/u, /from 0 to 1/u],
  ['a service with two equal addresses', service('upstreams = [{ url = "http://h" }]'), 5, /listed twice/u, /weight/u],
  ['HTTP/3 without TLS', service('protocol = "http3"'), 5, /without TLS/u, /https:/u],
  ['an unknown way to balance', service('balance = "best"'), 5, /service\[0\]\.balance/u, /"least-connections"/u],
  [
    'a check without path',
    service('[service.health]\ninterval_ms = 100'),
    5,
    /health\.path` is missing/u,
    /Add `path/u,
  ],
  [
    'a misspelt setting of a check',
    service('[service.health]\npath = "/h"\nintervall_ms = 100'),
    7,
    /no setting `service\[0\]\.health\.intervall_ms`/u,
    /path, interval_ms/u,
  ],
  [
    'a setting of the second service',
    `${service('[service.retry]\nattempts = 1')}${service('[service.retry]\nattempts = 11').replaceAll('"/a"', '"/b"')}`,
    12,
    /retry\.attempts` is 11/u,
    /from 0 to 10/u,
  ],
  ['a rate limit without rate', service('[service.rate_limit]\nburst = 5'), 5, /requests_per_second` is/u, /Add/u],
  ['a key that is no key', service('hash_key = "ip"'), 5, /hash_key/u, /"address"/u],
  ['a host with a port', service('hosts = ["a.example:443"]'), 5, /hosts\[0\]/u, /without a port/u],
  ['a proxy that is no address', '[router]\ntrusted_proxies = ["10.0.0.0/33"]\n', 2, /trusted_proxies/u, /range/u],
  ['a prefix with escapes', '[[service]]\nname = "a"\nprefix = "/%61"\nurl = "http://h"\n', 3, /prefix/u, /escapes/u],
  ['a timeout of zero', service('response_timeout_ms = 0'), 5, /response_timeout_ms/u, /from 10 to/u],
] as const) {
  test(`${name} is reported with its line and what was expected`, () => {
    const error = errorOf(source)
    assert.equal(error.code, 'ERR_CONFIG_VALUE')
    assert.equal(error.where, `router.toml:${line}`)
    assert.match(error.what, what)
    assert.match(error.remedy, remedy)
  })
}

test('a file that does not exist is named', () => {
  assert.throws(() => loadConfig('/nonexistent/router.toml'), /does not exist \(\/nonexistent\/router\.toml\)/u)
})

test('the example configuration shows the defaults', () => {
  const file = join(import.meta.dirname, '../../../../examples/router.toml')
  const { results, ...rest } = loadConfig(file)
  const { results: defaultResults, ...defaults } = defaultConfig()
  assert.deepEqual(rest, defaults)
  assert.equal(results.interval_ms, defaultResults.interval_ms)
  assert.equal(results.streams_kept, defaultResults.streams_kept)
  assert.equal(results.directory, join(import.meta.dirname, '../../../../results'))
})
