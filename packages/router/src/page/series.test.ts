/** Tests of what the live page draws: rates between documents, and columns that stay bounded. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FeedDocument } from '../ops/feed-document.ts'
import { RollingSeries, ratesBetween } from './browser/series.ts'

function feed(at: number, bytes: number, startedAt = 'then'): FeedDocument {
  const status = { startedAt, streams: bytes / 100 } as FeedDocument['status']
  return {
    at,
    status,
    bytesSent: bytes,
    bytesReceived: 2 * bytes,
    packetsSent: bytes / 10,
    packetsLost: bytes / 100,
    services: [],
    connections: [],
    streams: [],
  }
}

test('rates are differences over the time between two documents', () => {
  assert.deepEqual(ratesBetween(feed(1_000, 0), feed(3_000, 1_000)), {
    sentBytesPerSecond: 500,
    receivedBytesPerSecond: 1_000,
    requestsPerSecond: 5,
    lossRatio: 0.1,
  })
})

test('the first document and the one after a restart have no rate', () => {
  assert.equal(ratesBetween(undefined, feed(1, 1)), undefined)
  assert.equal(ratesBetween(feed(1_000, 500), feed(2_000, 5, 'later')), undefined)
  assert.equal(ratesBetween(feed(1_000, 0), feed(1_000, 1)), undefined)
})

test('columns have one row per point, gaps where a series was silent, and keep the last 300 points and six series', () => {
  const series = new RollingSeries()
  for (let at = 0; at < 400; at++) series.add(at * 1_000, new Map([[at < 350 ? 'early' : 'late', at]]))
  const { labels, data } = series.columns()
  assert.deepEqual(labels, ['early', 'late'])
  assert.equal(data[0]?.length, 300)
  assert.equal(data[0]?.[0], 100)
  assert.deepEqual([data[1]?.at(-1), data[2]?.at(-1)], [null, 399])
  series.add(401_000, new Map(Array.from({ length: 20 }, (_, at) => [`s${at}`, at])))
  assert.equal(series.columns().labels.length, 6)
})
