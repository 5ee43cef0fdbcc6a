/** Gaps of downloads: what counts as one, and what does not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DownloadProgress } from './download-progress.ts'

test('a time without bytes while a download runs is a gap; short ones and pauses between downloads are none', () => {
  let nowMs = 1_000
  const progress = new DownloadProgress(() => nowMs)
  const after = (ms: number, act: () => void): void => {
    nowMs += ms
    act()
  }
  after(500, () => progress.begin(100))
  after(99, () => progress.received(10))
  after(250, () => progress.received(10))
  after(1, () => progress.end())
  after(5_000, () => progress.begin(50))
  after(120, () => progress.end())
  assert.deepEqual(progress.gaps, [
    { atMs: 599, durationMs: 250 },
    { atMs: 5_850, durationMs: 120 },
  ])
  assert.deepEqual([progress.longestGapMs, progress.receivedBytes, progress.expectedBytes], [250, 20, 150])
})

test('of very many gaps the longest is still known', () => {
  let nowMs = 0
  const progress = new DownloadProgress(() => nowMs)
  progress.begin(1)
  for (let i = 0; i < 500; i++) {
    nowMs += 150 + i
    progress.received(1)
  }
  assert.equal(progress.longestGapMs, 649)
  assert.equal(progress.gaps.length, 200)
})
