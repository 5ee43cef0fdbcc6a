/** The tournament runs what it says, gathers it by scheduler, and draws what it found. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { heatMap } from './heat-map.ts'
import { DeliveryWatch, pairings, twoLinks } from './multipath-figures.ts'
import { mqvpnPairNames, mqvpnPairs } from './pairs.ts'
import { type JobOutcome, standingsOf } from './standings.ts'
import { type Job, type JobFigures, planJobs, runJob, tournamentCases, type TournamentPlan } from './tournament.ts'
import { tournamentMarkdown, tournamentTables } from './tournament-report.ts'

const plan: TournamentPlan = {
  schedulers: ['minrtt', 'backup'],
  cases: tournamentCases,
  pairs: ['bw_4to1', 'lte_geo'],
  seeds: 2,
  lengthUs: 1_000_000,
  jitterMode: 'normal',
}

/** What a job would find if `both` links gave this much, in bits per second. */
function imagined(job: Job, both: number): JobFigures {
  switch (job.kind) {
    case 'alone':
      return { bitsPerSecond: job.over === 'a' ? 40e6 : 10e6 }
    case 'both':
      return { bitsPerSecond: job.scheduler === 'backup' ? 40e6 : both }
    case 'share':
      return { share: job.seed === 1 ? 0.9 : 1 }
    case 'outage':
      return { gapUs: job.seed * 100_000, allowedUs: 250_000, returnShare: 1 / job.seed }
    case 'told':
      return { gapUs: job.seed * 50_000, allowedUs: job.pairing === 0 ? 80_000 : 200_000, returnShare: 0.95 }
    case 'rebinding':
      return { gapUs: job.seed * 30_000, allowedUs: job.direction === 'download' ? 100_000 : 50_000 }
    case 'fairness':
      return { ratio: (job.algorithm === 'lia' ? 1 : 1.5) + job.seed / 10 }
    case 'requestsAlone':
      return { medianUs: 50_000, p95Us: 60_000, p99Us: job.over === 'a' ? 300_000 : 200_000, sentPerByte: 1.05 }
    case 'requests':
      return { medianUs: 50_000, p95Us: 60_000, p99Us: 100_000, sentPerByte: 1.05 * 1.02 }
  }
}

const outcomesOf = (both: number): JobOutcome[] => planJobs(plan).map((job) => ({ job, figures: imagined(job, both) }))

test('there are sixteen pairs, named once each, with the published rates', () => {
  assert.equal(new Set(mqvpnPairNames).size, 16)
  const geo = mqvpnPairs().find(({ name }) => name === 'lte_geo')
  assert.deepEqual(geo?.b, {
    rateBitsPerSecond: 20e6,
    delayUs: 320_000,
    jitterUs: 20_000,
    jitterMode: 'normal',
    lossRatio: 0.005,
  })
  assert.equal(mqvpnPairs('overtaking').find(({ name }) => name === 'jit_5')?.a.jitterMode, 'overtaking')
})

test('a plan runs every scheduler in every case with every seed, and each link alone once per seed', () => {
  const jobs = planJobs(plan)
  const count = (kind: Job['kind']): number => jobs.filter((job) => job.kind === kind).length
  assert.deepEqual(
    (['alone', 'both', 'share', 'outage', 'told', 'rebinding', 'requestsAlone', 'requests', 'fairness'] as const).map(
      count,
    ),
    [8, 8, 16, 32, 32, 16, 4, 4, 16],
  )
  assert.equal(new Set(jobs.map((job) => JSON.stringify(job))).size, jobs.length)
  assert.throws(() => planJobs({ ...plan, pairs: ['lte_goe'] }), /no pair lte_goe; there are baseline/)
})

test('standings compare with the better link, average over seeds, and take the worst outage', () => {
  const { standings, alone, failures } = standingsOf(plan, outcomesOf(45e6))
  assert.deepEqual(failures, [])
  assert.deepEqual(alone[0], { pair: 'bw_4to1', a: 40e6, b: 10e6 })
  const [minrtt, backup] = standings
  assert.deepEqual(minrtt?.pairs[0], {
    pair: 'bw_4to1',
    bitsPerSecond: 45e6,
    ofBetter: 1.125,
    ofSum: 45 / 62,
    benefit: 0.5,
  })
  assert.equal(backup?.pairs[0]?.benefit, 0)
  assert.equal(minrtt?.shares[0]?.share, 0.95)
  const [outage] = minrtt?.outages ?? []
  assert.equal(outage?.gapUs, 200_000)
  assert.equal(outage?.gapOfAllowed, 0.8)
  assert.equal(outage?.returnShare, 0.5)
  assert.equal(minrtt?.told[0]?.gapOfAllowed, 1.25)
  assert.equal(minrtt?.told[2]?.gapOfAllowed, 0.5)
  assert.deepEqual(minrtt?.rebindings[0], {
    pairing: pairings[1]?.name,
    direction: 'download',
    gapUs: 60_000,
    gapOfAllowed: 0.6,
  })
  assert.ok(Math.abs((minrtt?.fairness[0]?.ratio ?? 0) - 1.15) < 1e-9)
  assert.equal(minrtt?.requests?.p99Change, -0.5)
  assert.ok(Math.abs((minrtt?.requests?.extraBytes ?? 0) - 0.02) < 1e-9)
})

test('a run that gets stuck counts as nothing achieved and is told', () => {
  const outcomes = outcomesOf(45e6).map((outcome) =>
    outcome.job.kind === 'both' || outcome.job.kind === 'outage' ? { job: outcome.job, error: 'stuck' } : outcome,
  )
  const standings = standingsOf(plan, outcomes)
  assert.equal(standings.failures.length, 40)
  assert.equal(standings.standings[0]?.pairs[0]?.ofBetter, 0)
  assert.equal(standings.standings[0]?.outages[0]?.gapOfAllowed, Infinity)
  assert.match(tournamentMarkdown(standings), /stuck !/)
  assert.match(heatMap(standings), />✘</)
})

test('a missing run is an error, not a gap in the table', () => {
  const outcomes = outcomesOf(45e6).filter(({ job }) => job.kind !== 'requests')
  assert.throws(() => standingsOf(plan, outcomes), /no run of .*requests/)
})

test('tables mark what misses its goal and nothing else', () => {
  const fine = tournamentTables(standingsOf(plan, outcomesOf(45e6)))
  assert.deepEqual(fine[0]?.rows[0], ['bw_4to1', '40.0', '10.0', '1.13', '1.00'])
  const rowsOf = (heading: RegExp): readonly (readonly string[])[] =>
    fine.find((table) => heading.test(table.heading))?.rows ?? []
  assert.deepEqual(rowsOf(/abandons/)[0]?.slice(1), ['100 ms !', '100 ms !'])
  assert.deepEqual(rowsOf(/abandons/)[2]?.slice(1), ['100 ms', '100 ms'])
  assert.deepEqual(
    rowsOf(/NAT/).map((row) => row[1]),
    ['60 ms', '60 ms !', '60 ms', '60 ms !'],
  )
  // What is not coupled has no goal to miss.
  assert.deepEqual(
    rowsOf(/NewReno/).map((row) => row[1]),
    ['1.15', '1.65 !', '1.65 !', '1.65'],
  )
  const slow = tournamentTables(standingsOf(plan, outcomesOf(30e6)))
  assert.deepEqual(slow[0]?.rows[0], ['bw_4to1', '40.0', '10.0', '0.75 !', '1.00'])
  assert.deepEqual(fine[1]?.rows[0], ['bw_4to1', '72.6 %', '64.5 %'])
  assert.equal(fine.length, 8)
  const only = { ...plan, cases: ['shares'] as const }
  const some = outcomesOf(45e6).filter(({ job }) => job.kind === 'share')
  assert.equal(tournamentTables(standingsOf(only, some)).length, 1)
})

test('the heat map labels every cell and names what it stands for', () => {
  const svg = heatMap(standingsOf({ ...plan, schedulers: ['<a&b>', 'backup'] }, renamed(outcomesOf(45e6))))
  // Two schedulers: 2 pairs, 4 shares, gap, return, gap when told, NAT, 99th percentile, extra bytes, 3 algorithms.
  assert.equal(svg.match(/<rect x=/g)?.length, 2 * (2 + 4 + 9))
  assert.equal(svg.match(/<title>/g)?.length, 2 * (2 + 4 + 9))
  assert.match(svg, /&lt;a&amp;b&gt;, bw_4to1: 1\.13 of the better link alone/)
  assert.match(svg, /prefers-color-scheme: dark/)
  assert.ok(!svg.includes('NaN') && !svg.includes('undefined'))
})

function renamed(outcomes: readonly JobOutcome[]): JobOutcome[] {
  return outcomes.map(({ job, ...rest }) => ({
    job: 'scheduler' in job && job.scheduler === 'minrtt' ? { ...job, scheduler: '<a&b>' } : job,
    ...rest,
  }))
}

test('a real download over two links is faster than over the better one, and the same twice', () => {
  const long = { ...plan, lengthUs: 3_000_000 }
  const run = (job: Job): number => runJob(job, long, { packetScheduler: 'minrtt' })['bitsPerSecond'] ?? 0
  const both = run({ kind: 'both', scheduler: 'minrtt', pair: 'bw_4to1', seed: 1 })
  const alone = run({ kind: 'alone', pair: 'bw_4to1', over: 'a', seed: 1 })
  assert.ok(alone > 30e6 && both > alone, `${both} and ${alone} bit/s`)
  assert.equal(run({ kind: 'both', scheduler: 'minrtt', pair: 'bw_4to1', seed: 1 }), both)
})

test('by default a slow link that returns from an outage carries its share again after three seconds', () => {
  const { a, b } = pairings[2] as (typeof pairings)[number]
  const lab = twoLinks({ seed: 1, a, b })
  const watch = new DeliveryWatch(lab, lab.client.download(1e9))
  lab.run(3_000_000)
  // Two seconds: what waited for a gap to close comes all at once and would pass for a rate above that of the links.
  const before = watch.rateOver(2_000_000)
  lab.link('b').cut()
  lab.run(3_000_000)
  lab.link('b').mend()
  lab.run(3_000_000)
  const after = watch.rateOver(1_000_000)
  assert.ok(after >= 0.9 * before, `${after} bit/s, ${before} before`)
})

test('both paths through one link take what the scheduler and the algorithm of the job say, and a NAT that rebinds is survived', () => {
  const run = (job: Job): JobFigures => runJob(job, plan, { packetScheduler: 'backup' })
  const alone = run({ kind: 'fairness', scheduler: 'backup', algorithm: 'new_reno', seed: 1 })
  // The scheduler is in force: with one path at a time, two flows of the same kind share the link evenly.
  assert.ok(alone['ratio'] !== undefined && alone['ratio'] > 0.6 && alone['ratio'] < 1.4, JSON.stringify(alone))
  const { gapUs, allowedUs } = run({
    kind: 'rebinding',
    scheduler: 'backup',
    pairing: 1,
    direction: 'download',
    seed: 1,
  })
  assert.ok((gapUs as number) > 0 && (gapUs as number) <= (allowedUs as number), `${gapUs} of ${allowedUs} us`)
})
