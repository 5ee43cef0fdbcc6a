/** Downloads whose acknowledgments have to go through a narrow uplink (RFC 9000 §13.2.2). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { milliseconds, seconds, world } from './index.ts'

test('a download over 50 Mbit/s with 0.5 Mbit/s back gets more than four fifths of the link', () => {
  const delayUs = milliseconds(20)
  const lab = world({
    seed: 11,
    links: { cable: { down: { rateBitsPerSecond: 50e6, delayUs }, up: { rateBitsPerSecond: 0.5e6, delayUs } } },
  })
  const bytes = 40_000_000
  const download = lab.client.download(bytes)
  lab.until(download.finished, { withinUs: seconds(60), what: 'the download' })
  const share = download.goodputBitsPerSecond / 50e6
  assert.ok(share > 0.8, `${share} of the link`)
})
