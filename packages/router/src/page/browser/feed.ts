/** The feed of the router: one document a second while the page is open. */
import { useEffect, useRef, useState } from 'preact/hooks'
import type { FeedDocument } from '../../ops/feed-document.ts'
import { type Rates, RollingSeries, ratesBetween } from './series.ts'

export interface Feed {
  readonly isLive: boolean
  readonly document: FeedDocument | undefined
  readonly rates: Rates | undefined
  readonly throughput: RollingSeries
  readonly latency: RollingSeries
  /** Round-trip times of the paths, labelled `connection/path`. */
  readonly roundTrips: RollingSeries
}

interface Latest {
  readonly document: FeedDocument
  readonly rates: Rates | undefined
}

/** Follows the feed; the browser connects again by itself when the router was away. */
export function useFeed(): Feed {
  const [latest, setLatest] = useState<Latest>()
  const [isLive, setLive] = useState(false)
  const series = useRef({
    throughput: new RollingSeries(),
    latency: new RollingSeries(),
    roundTrips: new RollingSeries(),
  })
  useEffect(() => {
    const source = new EventSource('/api/events')
    let before: FeedDocument | undefined
    source.onopen = () => setLive(true)
    source.onerror = () => setLive(false)
    source.onmessage = (event: MessageEvent<string>) => {
      const document = JSON.parse(event.data) as FeedDocument
      const rates = ratesBetween(before, document)
      before = document
      addPoint(series.current, document, rates)
      setLatest({ document, rates })
      setLive(true)
    }
    return () => source.close()
  }, [])
  return { isLive, document: latest?.document, rates: latest?.rates, ...series.current }
}

function addPoint(
  series: Pick<Feed, 'throughput' | 'latency' | 'roundTrips'>,
  document: FeedDocument,
  rates: Rates | undefined,
): void {
  if (rates !== undefined)
    series.throughput.add(
      document.at,
      new Map([
        ['received', rates.receivedBytesPerSecond],
        ['sent', rates.sentBytesPerSecond],
      ]),
    )
  series.latency.add(
    document.at,
    new Map(
      document.services.flatMap(({ name, latency }) => (latency === null ? [] : [[name, latency.p95Ms] as const])),
    ),
  )
  series.roundTrips.add(
    document.at,
    new Map(
      document.connections.flatMap((connection) =>
        connection.paths
          .filter(({ smoothedRttMs }) => smoothedRttMs > 0)
          .map((path) => [`${connection.id}/${path.id}`, path.smoothedRttMs] as const),
      ),
    ),
  )
}
