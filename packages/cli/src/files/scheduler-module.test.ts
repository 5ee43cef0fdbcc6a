/** Schedulers from a user's module: the good one is used, each bad one is named with its file. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { isModulePath, loadScheduler } from './scheduler-module.ts'

function moduleFile(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-scheduler-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'mine.ts')
  writeFileSync(file, text)
  return file
}

test('a scheduler of a module is used, one for each connection, and says in its name where it is from', async (t) => {
  const file = moduleFile(
    t,
    `let made = 0
     export function scheduler() {
       made++
       const mine: number = made
       return { name: 'mine' + made, pick: () => mine, onSent(lane: { account: number }, bytes: number) { lane.account += bytes } }
     }`,
  )
  const make = await loadScheduler(file)
  const [first, second] = [make(), make()]
  const schedule = {} as Parameters<typeof first.pick>[0]
  assert.equal(first.name, `mine2 (${file})`)
  assert.deepEqual([first.pick(schedule), second.pick(schedule)], [2, 3])
  const lane = { account: 1 } as Parameters<NonNullable<typeof first.onSent>>[0]
  first.onSent?.(lane, 5)
  assert.equal(lane.account, 6)
})

for (const [what, text, pattern] of [
  [
    'no export',
    'export const Scheduler = 1',
    /exports no "scheduler" \(it exports Scheduler\) .*export const scheduler/u,
  ],
  ['an export that is no function', 'export const scheduler = {}', /exports "scheduler" that is no function/u],
  ['a function that throws', `export const scheduler = () => { throw new Error('boom') }`, /threw: boom/u],
  ['a function that makes nothing', 'export const scheduler = () => undefined', /made something that is no scheduler/u],
  ['a scheduler without pick', `export const scheduler = () => ({ name: 'x' })`, /a name, a function pick/u],
  ['a module that throws', `throw new Error('too early')`, /does not load: too early/u],
  ['a module with a typing error', 'export const scheduler = (', /does not load/u],
  ['an import that is missing', `import './none.ts'`, /does not load: Cannot find module/u],
] as const) {
  test(`${what}: named with the file`, async (t) => {
    const file = moduleFile(t, text)
    await assert.rejects(loadScheduler(file), (error: Error) => {
      assert.match(error.message, pattern)
      assert.ok(error.message.includes(`(--scheduler ${file})`), error.message)
      return true
    })
  })
}

test('the documented example can be used', async () => {
  const file = join(import.meta.dirname, '../../../../examples/my-scheduler.ts')
  assert.equal((await loadScheduler(file))().name, `cheapest-first (${file})`)
})

test('a file that is not there is told from a name', async () => {
  assert.ok(isModulePath('./x') && isModulePath('x.mjs') && isModulePath('C:\\x') && !isModulePath('minrtt'))
  await assert.rejects(loadScheduler('./none.ts'), /no such scheduler module \(--scheduler \.\/none\.ts\)/u)
})
