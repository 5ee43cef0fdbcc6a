/** Tests of the diff between two configurations: what is named, what needs a restart, what is never shown. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig } from '../config/load.ts'
import type { RouterConfig } from '../config/schema.ts'
import { changeLine, diffConfig, mergeReloadable, touchesRouting, withoutSecrets } from './config-diff.ts'

const service = (name: string, url: string): string =>
  `[[service]]\nname = "${name}"\nprefix = "/${name}"\nurl = "${url}"\n`
const config = (...parts: string[]): RouterConfig => parseConfig(parts.join('\n'), 'x.toml')
const lines = (before: RouterConfig, after: RouterConfig): string[] => diffConfig(before, after).map(changeLine)

test('a service that moved in the file is no change, one with another url is named by its name', () => {
  const before = config(service('a', 'http://h:1'), service('b', 'http://h:2'))
  assert.deepEqual(lines(before, config(service('b', 'http://h:2'), service('a', 'http://h:1'))), [])
  assert.deepEqual(lines(before, config(service('a', 'http://h:1'), service('b', 'http://h:3'))), [
    '~ service.b.url: "http://h:2" -> "http://h:3"',
  ])
})

test('a service that is new or gone is shown with all its settings', () => {
  const [one, two] = [
    config(service('a', 'http://h:1')),
    config(service('a', 'http://h:1'), service('b', 'http://h:2')),
  ]
  assert.ok(lines(one, two).includes('+ service.b.url = "http://h:2"'))
  assert.ok(lines(two, one).includes('- service.b.prefix = "/b"'))
})

test('settings of the listener need a restart and stay as they run', () => {
  const running = config('[router]\nport = 1\n', service('a', 'http://h:1'))
  const next = config('[router]\nport = 2\n[results]\nstreams_kept = 5\n', service('a', 'http://h:2'))
  assert.deepEqual(lines(running, next), [
    '~ results.streams_kept: 2000 -> 5 (needs a restart)',
    '~ router.port: 1 -> 2 (needs a restart)',
    '~ service.a.url: "http://h:1" -> "http://h:2"',
  ])
  const merged = mergeReloadable(running, next)
  assert.equal(merged.router.port, 1)
  assert.equal(merged.results.streams_kept, 2_000)
  assert.equal(merged.service[0]?.url, 'http://h:2')
})

test('a certificate or a log alone leaves the connections to the services alone', () => {
  const running = config(service('a', 'http://h:1'))
  const pair = '[router]\ncertificate = "c.pem"\nprivate_key = "k.pem"\n[access_log]\nfile = "a.log"\n'
  const changes = diffConfig(running, config(pair, service('a', 'http://h:1')))
  assert.equal(changes.length, 3)
  assert.equal(touchesRouting(changes), false)
  assert.equal(touchesRouting(diffConfig(running, config(service('a', 'http://h:2')))), true)
})

test('values of trace headers are never shown, their change is', () => {
  const secret = (value: string): RouterConfig => config(`[traces]\nheaders = { authorization = "${value}" }\n`)
  const text = lines(secret('one'), secret('two')).join()
  assert.equal(text, '~ traces.headers.authorization: "…" -> "…"')
  assert.doesNotMatch(JSON.stringify(withoutSecrets(secret('one'))), /one/u)
})
