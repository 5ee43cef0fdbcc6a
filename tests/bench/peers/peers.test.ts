/** What bench:peers concludes from figures, and that its lists fit together. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cases, groups } from './cases.ts'
import { chart } from './chart.ts'
import { contenders } from './contenders.ts'
import { format, markdown, replaceMarked, table } from './report.ts'
import { limitsOf, ratioAgainst, ratioOf, ratiosOf, type Result, type Sample, withMedians } from './result.ts'
import { isFor } from './session.ts'

function sample(contender: string, subject: string, values: number[], better: 'more' | 'less' = 'more'): Sample {
  const unit = better === 'more' ? 'bit/s' : 'us'
  return { contender, subject, metric: better === 'more' ? 'rate' : 'p50', unit, better, values }
}

test('ours against another is the median of the ratios of the rounds', () => {
  const ratio = ratioOf(sample('quicether', 'download-1', [2, 4, 9]), sample('quinn', 'download-1', [1, 1, 3]))
  assert.deepEqual(ratio && [ratio.value, ratio.low, ratio.high], [3, 2.5, 3.5])
})

test('of figures where less is better, above 1 still means ours is better', () => {
  const ratio = ratioOf(
    sample('quicether', 'latency-idle', [50], 'less'),
    sample('quinn', 'latency-idle', [100], 'less'),
  )
  assert.equal(ratio?.value, 2)
})

test('a round that one of them did not finish is not compared', () => {
  assert.equal(ratioOf(sample('quicether', 'download-1', []), sample('quinn', 'download-1', [1])), undefined)
})

test('ours is compared with every other of the same case, and never with itself', () => {
  const samples = [
    sample('quicether', 'download-1', [4]),
    sample('quinn', 'download-1', [2]),
    sample('quinn', 'upload-1', [2]),
    sample('quicether-router', 'router-download', [3]),
    sample('caddy', 'router-download', [1]),
  ]
  const found = ratiosOf(samples).map(({ subject, against, value }) => `${subject} ${against} ${value}`)
  assert.deepEqual(found, ['download-1 quinn 2', 'router-download caddy 3'])
})

test('a limit of another name is compared with, too', () => {
  const samples = [sample('quicether', 'upload-1', [3]), sample('limits', 'sealed', [6])]
  assert.equal(ratioAgainst(samples, 'upload-1', 'sealed', 'rate')?.value, 0.5)
  assert.equal(ratioAgainst(samples, 'upload-1', 'udp', 'rate'), undefined)
})

const samples = [
  sample('quicether', 'download-1', [3e9, 3e9, 3e9]),
  sample('quinn', 'download-1', [1e9, 2e9, 1e9]),
  sample('limits', 'sealed', [6e9, 6e9, 6e9]),
]
const result: Result = {
  machine: '2 × test',
  kernel: 'Linux 6',
  date: '2026-01-01',
  commit: 'abc',
  command: 'npm run bench:peers',
  repeats: 3,
  seconds: 1,
  versions: { quinn: '1.2.3' },
  samples: withMedians(samples),
  absent: [{ contender: 'iroh', subject: 'download-1', reason: 'no <such> thing' }],
  ratios: [
    ...ratiosOf(samples),
    ...[ratioAgainst(samples, 'download-1', 'sealed', 'rate')].filter((r) => r !== undefined),
  ],
}

test('tables show medians, ratios with their quartiles, and who is absent for which reason', () => {
  for (const text of [table(result), markdown(result)]) {
    assert.match(text, /quicether.*3\.00 Gbit\/s/)
    assert.match(text, /quinn.*1\.00 Gbit\/s.*3\.00 \(2\.25 to 3\.00\)/)
    assert.match(text, /iroh.*n\/a.*no <such> thing/)
    assert.match(text, /download-1 rate \/ sealed.*0\.500/)
  }
  assert.match(markdown(result), /quinn 1\.2\.3/)
})

test('the chart draws the longest bar for the fastest', () => {
  const svg = chart(result)
  const widths = [...svg.matchAll(/<rect class="(\w+)"[^>]* width="([\d.]+)"/g)].map(([, kind, width]) => [
    kind,
    Number(width),
  ])
  const [first, second] = widths
  assert.equal(first?.[0], 'ours')
  assert.ok(Number(first?.[1]) > Number(second?.[1]))
})

test('only the part of the page between the marks is replaced', () => {
  const page = 'a\n<!-- peers:begin (written by npm run bench:peers -- --docs) -->\nold\n<!-- peers:end -->\nb\n'
  assert.equal(replaceMarked(page, 'new'), page.replace('old', 'new'))
  assert.throws(() => replaceMarked('no marks', 'new'), /has no marks/)
})

test('figures are shown in units that people read', () => {
  assert.equal(format(1.234e9, 'bit/s'), '1.23 Gbit/s')
  assert.equal(format(2.5e6, 'bit/s'), '2.5 Mbit/s')
  assert.equal(format(12_345, 'us'), '12.3 ms')
  assert.equal(format(20_480, 'bytes'), '20.5 kB')
})

test('every case belongs to a known group, has a name of its own and somebody to run it', () => {
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length)
  for (const subject of cases) {
    assert.ok(groups.includes(subject.group), subject.name)
    assert.ok(subject.metrics.length > 0, subject.name)
    assert.ok(
      contenders.some((contender) => isFor(contender, subject)),
      `nobody runs ${subject.name}`,
    )
  }
})

test('what a contender lacks and what it is there for are cases or groups that exist', () => {
  const known = new Set<string>([...groups, ...cases.map(({ name }) => name)])
  for (const { name, lacks, only = [] } of contenders) {
    for (const subject of [...Object.keys(lacks), ...only]) assert.ok(known.has(subject), `${name}: ${subject}`)
  }
})

test('limits that ours is held against are measured', () => {
  for (const [subject, limit, metric] of limitsOf) {
    for (const name of [subject, limit]) {
      const found = cases.find((candidate) => candidate.name === name)
      assert.ok(
        found?.metrics.some((known) => known.name === metric),
        `${name} ${metric}`,
      )
    }
  }
})
