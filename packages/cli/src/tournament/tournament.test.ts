/** The parts of `quicether schedulers bench` around the runs: markers, progress, threads. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planJobs, standingsOf, type TournamentPlan } from '@quicether/lab'
import { betweenMarkers } from './markers.ts'
import { runJobs } from './pool.ts'
import { progressText } from './progress.ts'
import { labelOf } from './worker.ts'

const begin = '<!-- tournament: written by `quicether schedulers bench --write`, from here -->'
const end = '<!-- tournament: to here -->'

test('what lies between the markers is replaced, the rest is kept', () => {
  const text = `# Title\n\n${begin}\nold\n${end}\n\nmore\n`
  const once = betweenMarkers(text, 'new\n', 'x.md')
  assert.equal(once, `# Title\n\n${begin}\n\nnew\n\n${end}\n\nmore\n`)
  assert.equal(betweenMarkers(once, 'new\n', 'x.md'), once)
})

for (const [what, text] of [
  ['no markers', '# Title\n'],
  ['one marker', `${begin}\n`],
  ['markers in the wrong order', `${end}\n${begin}\n`],
  ['a marker twice', `${begin}\n${begin}\n${end}\n`],
] as const) {
  test(`a file with ${what} is left alone and named`, () =>
    assert.throws(() => betweenMarkers(text, 'new', 'x.md'), /two markers.*\(x\.md\)\. Add the lines/))
}

test('the progress line shows a bar, a count and what is left', () => {
  assert.equal(progressText(0, 10, 0, 'a'), `${'░'.repeat(30)} 0/10  a`)
  assert.equal(progressText(5, 10, 20_000, 'a'), `${'█'.repeat(15)}${'░'.repeat(15)} 5/10, 20 s left  a`)
  assert.match(progressText(10, 10, 20_000, 'a'), /^█{30} 10\/10, 0 s left/)
  assert.match(progressText(10, 100, 60_000, 'a'), / 9 min left/)
})

test('modules are called by their file in tables', () => {
  assert.equal(labelOf('./examples/my-scheduler.ts'), 'my-scheduler')
  assert.equal(labelOf('minrtt'), 'minrtt')
})

test('threads compute what one thread would, in the order of the jobs', async () => {
  const plan: TournamentPlan = {
    schedulers: ['minrtt'],
    cases: ['downloads'],
    pairs: ['bw_4to1', 'congested'],
    seeds: 1,
    lengthUs: 200_000,
    jitterMode: 'normal',
  }
  const jobs = planJobs(plan)
  let done = 0
  const options = { plan, schedulers: ['minrtt'], onDone: () => done++ }
  const two = await runJobs(jobs, { ...options, threads: 2 })
  const one = await runJobs(jobs, { ...options, threads: 1 })
  assert.deepEqual(two, one)
  assert.equal(done, 2 * jobs.length)
  assert.deepEqual(
    two.map(({ job }) => job),
    jobs,
  )
  assert.ok((standingsOf(plan, two).standings[0]?.pairs[0]?.bitsPerSecond ?? 0) > 0)
})
