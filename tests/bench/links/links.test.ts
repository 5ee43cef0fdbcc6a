/** The page and the goals of the link benchmark, and its command line; the links themselves: tests/process/links.test.ts. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gapGoalMs, outageCases, rebindCases, rebindGoalMs, rttMs, shareCases, sumMbit } from './cases.ts'
import { markdown, outageName, summary } from './report.ts'
import type { LinksResult } from './result.ts'
import { Transfer } from './transfer.ts'

function result(shares: readonly number[], failures: readonly string[] = []): LinksResult {
  const [share] = shareCases
  const [outage] = outageCases
  const [rebind] = rebindCases
  assert.ok(share !== undefined && outage !== undefined && rebind !== undefined)
  return {
    command: 'npm run bench:links',
    repeats: shares.length,
    seconds: 10,
    machine: {
      when: '2026-01-01T00:00:00.000Z',
      processor: 'test',
      cores: 2,
      memoryMB: 1,
      kernel: '6',
      node: 'v26',
      loadBefore: 0,
      stealShare: null,
      versions: { quicether: 'abc' },
    },
    contenders: [
      { name: 'quicether', about: 'ours' },
      { name: 'mptcp-cubic', about: 'theirs' },
    ],
    shares: [
      {
        contender: 'quicether',
        case: share.name,
        runs: shares.map((value) => ({
          mbit: value * sumMbit(share.links),
          share: value,
          linkBytes: [1e6, 2e6],
          cpuSeconds: 1,
        })),
      },
      { contender: 'mptcp-cubic', case: share.name, runs: [null] },
    ],
    outages: [
      {
        contender: 'quicether',
        case: outageName(outage),
        runs: [{ gapMs: 300, goalMs: 250, survivorShare: 0.9, returnShare: 0.95 }],
      },
    ],
    rebinds: [{ contender: 'quicether', case: rebind.name, runs: [{ gapMs: 50, goalMs: 100 }] }],
    failures,
    leftOut: ['mptcp-bbr: no bbr here'],
  }
}

test('the page has medians, what was reached, by how much it fell short, and every run', () => {
  const page = markdown(result([0.95, 0.9, 0.96]))
  assert.match(page, /\| 95\.0 % \| - \| 94 % \| yes \|/u)
  assert.match(page, /\| 300 ms \| 250 ms \| no, by 50 ms \| 90\.0 % \| 95\.0 % \| yes \|/u)
  assert.match(page, /\| quicether \| 50 ms \| 100 ms \| yes \|/u)
  assert.match(page, /190\.0 \(1\.0 \+ 2\.0 MB, client 1\.0 s of processor\); 180\.0/u)
  assert.match(page, /mptcp-cubic \| failed \|/u)
  assert.match(page, /not measured: mptcp-bbr: no bbr here/u)
  assert.match(markdown(result([0.9])), /no, by 4\.0 %/u)
})

test('a run that failed is told of, and the rest is shown', () => {
  const page = summary(result([0.95], ['repeat 1, x: the download\nended']))
  assert.match(page, /## Runs that failed\n\n- repeat 1, x: the download ended/u)
})

test('the goals follow the round trips of the moment', () => {
  assert.equal(rttMs({ rateMbit: 50, delayMs: 15 }, 70), 100)
  assert.equal(gapGoalMs('silent', 30, 120), 250)
  assert.equal(gapGoalMs('silent', 100, 120), 445)
  assert.equal(gapGoalMs('told', 100, 999), 150)
  assert.equal(rebindGoalMs(100), 275)
})

test('gaps and rates are taken from what arrived, and wrong bytes are found', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-transfer-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'file')
  writeFileSync(file, 'abcdef')
  const receive = async (text: string): Promise<Transfer> => {
    const transfer = new Transfer(undefined, ['printf', text], directory)
    assert.equal(await transfer.finished(20_000), 0)
    return transfer
  }
  const transfer = await receive('abcd')
  assert.equal(transfer.bytes, 4)
  transfer.verify(file)
  const at = transfer.lastByteMs ?? Number.NaN
  // Times have fractions, and sums of them are rounded.
  assert.ok(Math.abs(transfer.gapMs(at - 500, at + 2_000) - 2_000) < 0.001)
  assert.ok(transfer.gapMs(at - 3_000, at + 1) >= 2_999)
  assert.ok(Math.abs(transfer.rateMbit(at - 10, at + 10) - (4 * 8) / 20_000) < 1e-9)
  const wrong = await receive('abxd')
  assert.throws(() => wrong.verify(file), /the 4 bytes that came differ/u)
  const long = await receive('abcdefg')
  assert.throws(() => long.verify(file), /7 bytes came, which is more than/u)
})

const main = join(import.meta.dirname, 'main.ts')
const wrong: readonly (readonly [string, RegExp])[] = [
  ['--only=nobody', /--only names "nobody"; known: quicether, mptcp-cubic/u],
  ['--cases=shares,none', /--cases names "none"; known: shares, outages/u],
  ['--repeats=0', /--repeats is "0", expected a number above 0/u],
  ['--nonsense', /Unknown option '--nonsense'/u],
]
for (const [flag, pattern] of wrong) {
  test(`the command line names what is wrong with ${flag}`, () => {
    const { status, stderr } = spawnSync(process.execPath, [main, flag], { encoding: 'utf8' })
    assert.equal(status, 2)
    assert.match(stderr, pattern)
    assert.doesNotMatch(stderr, /\n\s+at /u)
  })
}
