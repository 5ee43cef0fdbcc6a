/** `quicether schedulers bench` as users run it, and the example of a scheduler of one's own. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Scenario, type Standings, world } from '@quicether/lab'
import { scheduler } from '../../examples/my-scheduler.ts'
import { assertExplained, runCli, scratchDirectory } from './cli-process.ts'

const example = join(import.meta.dirname, '../../examples/my-scheduler.ts')

/** A client with a free and a dear link; the server sends by the example's rule. */
function freeAndDear(): Scenario {
  const link = { rateBitsPerSecond: 20e6, delayUs: 10_000 }
  const lab = world({
    seed: 1,
    links: { free: link, dear: link },
    clientConfig: { maxPaths: 2 },
    serverConfig: { maxPaths: 2, packetScheduler: scheduler },
  })
  lab.join('dear')
  return lab
}

test('the example is no longer than thirty lines', () => {
  assert.ok(readFileSync(example, 'utf8').trimEnd().split('\n').length <= 30)
})

test('the example spends nothing on small downloads and hurries large ones over both links', () => {
  const lab = freeAndDear()
  const dear = lab.link('dear').down.stats
  for (let round = 0; round < 20; round++) {
    const small = lab.client.download(50_000)
    lab.until(small.finished, { withinUs: 5_000_000 })
  }
  assert.ok(dear.deliveredBytes < 50_000, `${dear.deliveredBytes} bytes over the dear link`)
  const large = lab.client.download(20_000_000)
  lab.until(large.finished, { withinUs: 30_000_000 })
  assert.ok(large.goodputBitsPerSecond > 25e6, `${large.goodputBitsPerSecond} bit/s`)
})

test('the example goes on over the dear link when the free one dies', () => {
  const lab = freeAndDear()
  const download = lab.client.download(5_000_000)
  lab.run(300_000)
  lab.link('free').cut()
  lab.until(download.finished, { withinUs: 20_000_000 })
})

test('a tournament of a named scheduler and a module prints a table, and JSON, and draws', async (t) => {
  const directory = scratchDirectory(t)
  const notes = join(directory, 'notes.md')
  writeFileSync(
    notes,
    'before\n<!-- tournament: written by `quicether schedulers bench --write`, from here -->\nold\n<!-- tournament: to here -->\nafter\n',
  )
  const common = ['schedulers', 'bench', '--schedulers', `backup,${example}`, '--cases', 'downloads']
  const bench = [...common, '--pairs', 'bw_4to1', '--seconds', '2', '--threads', '1']
  const { code, stdout, stderr } = await runCli(t, directory, [
    ...bench,
    '--json',
    '--svg',
    'heat.svg',
    '--write',
    notes,
  ])
  assert.equal(code, 0, stderr)
  const { standings } = JSON.parse(stdout) as Standings
  assert.deepEqual(
    standings.map(({ scheduler: name }) => name),
    ['backup', 'my-scheduler'],
  )
  const [one, both] = standings.map(({ pairs }) => pairs[0]?.ofBetter ?? 0) as [number, number]
  assert.ok(one > 0.9 && one < 1.05, `backup: ${one} of the better link`)
  assert.ok(both > one, `the example: ${both} of the better link`)
  assert.match(readFileSync(join(directory, 'heat.svg'), 'utf8'), /^<svg [\s\S]*my-scheduler, bw_4to1/)
  const written = readFileSync(notes, 'utf8')
  assert.match(written, /^before\n[\s\S]*\| bw_4to1 \|[\s\S]*\nafter\n$/)
  assert.ok(!written.includes('\nold\n'))
  const again = await runCli(t, directory, bench)
  assert.equal(again.code, 0, again.stderr)
  assert.match(again.stdout, /pair +A alone +B alone +backup +my-scheduler\n[─ ]+\nbw_4to1/)
})

for (const [what, args, said] of [
  ['scheduler', ['--schedulers', 'minrttt'], /there is no minrttt \(--schedulers\)\. Known: .*minrtt/u],
  ['scheduler module', ['--schedulers', './none.ts'], /no such scheduler module \(--scheduler \.\/none\.ts\)/u],
  ['pair', ['--pairs', 'lte_goe'], /there is no lte_goe \(--pairs\)\. Known: all, baseline/u],
  ['case', ['--cases', 'uploads'], /there is no uploads \(--cases\)\. Known: all, downloads/u],
  ['scheduler twice', ['--schedulers', 'rr,rr'], /two schedulers are called rr \(--schedulers\)/u],
  ['place for the picture', ['--svg', 'no/such/place.svg'], /ENOENT \(no\/such\/place\.svg\)/u],
  ['file to write into', ['--write', 'none.md'], /ENOENT \(none\.md\)/u],
  ['number of seeds', ['--seeds', '0'], /--seeds.*whole number from 1/u],
] as const) {
  test(`a wrong ${what} is named before anything runs`, async (t) =>
    assertExplained(await runCli(t, scratchDirectory(t), ['schedulers', 'bench', ...args]), 2, said))
}
