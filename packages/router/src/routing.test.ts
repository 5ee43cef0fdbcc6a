/** Tests of routing: which service a path reaches. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig } from './config/load.ts'
import { RouteTable } from './routing.ts'

const table = new RouteTable(
  parseConfig(
    [
      ['root', '/', 'strip_prefix = false'],
      ['video', '/video', ''],
      ['live', '/video/live/', 'strip_prefix = true'],
    ]
      .map(
        ([name, prefix, extra]) => `[[service]]\nname = "${name}"\nprefix = "${prefix}"\nurl = "http://h"\n${extra}\n`,
      )
      .join('\n'),
    'test.toml',
  ).service,
)

for (const [path, name, target] of [
  ['/video', 'video', '/video'],
  ['/video/a?x=/video/live', 'video', '/video/a?x=/video/live'],
  ['/videos', 'root', '/videos'],
  ['/video/live', 'live', '/'],
  ['/video/live?x=1', 'live', '/?x=1'],
  ['/video/live/cam/1?x', 'live', '/cam/1?x'],
  ['/', 'root', '/'],
] as const) {
  test(`${path} goes to ${name} as ${target}`, () => {
    const route = table.find(path)
    assert.equal(route?.service.name, name)
    assert.equal(route?.target, target)
  })
}

for (const path of ['/video/../control', '/video/%2e%2E/x', '/./a', 'video', '*']) {
  test(`${path} has no route`, () => assert.equal(table.find(path), undefined))
}
