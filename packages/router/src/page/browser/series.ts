/** What the charts draw: the last minutes of the feed, as columns that grow at one end and shrink at the other. */
import type { FeedDocument } from '../../ops/feed-document.ts'

/** The first column is time in epoch seconds, the others are values; null = nothing was measured. */
export interface Columns {
  readonly labels: readonly string[]
  readonly data: readonly (readonly (number | null)[])[]
}

interface Point {
  readonly atSeconds: number
  readonly values: ReadonlyMap<string, number>
}

const pointsMax = 300
const labelsMax = 6

/** A rolling set of named series. */
export class RollingSeries {
  #points: Point[] = []

  add(atMs: number, values: ReadonlyMap<string, number>): void {
    this.#points.push({ atSeconds: atMs / 1_000, values })
    if (this.#points.length > pointsMax) this.#points.shift()
  }

  clear(): void {
    this.#points = []
  }

  /** At most six series: those that were there last. */
  columns(): Columns {
    const labels: string[] = []
    for (let at = this.#points.length - 1; at >= 0 && labels.length < labelsMax; at--)
      for (const label of this.#points[at]?.values.keys() ?? [])
        if (!labels.includes(label) && labels.length < labelsMax) labels.push(label)
    labels.sort()
    return {
      labels,
      data: [
        this.#points.map(({ atSeconds }) => atSeconds),
        ...labels.map((label) => this.#points.map(({ values }) => values.get(label) ?? null)),
      ],
    }
  }
}

/** Rates between two documents of the feed. */
export interface Rates {
  readonly sentBytesPerSecond: number
  readonly receivedBytesPerSecond: number
  readonly requestsPerSecond: number
  /** Share of the packets sent since the last document that were declared lost. */
  readonly lossRatio: number
}

/** Undefined for the first document, and after the router was started anew. */
export function ratesBetween(before: FeedDocument | undefined, after: FeedDocument): Rates | undefined {
  if (before === undefined || before.status.startedAt !== after.status.startedAt) return undefined
  const seconds = (after.at - before.at) / 1_000
  if (seconds <= 0) return undefined
  const packets = after.packetsSent - before.packetsSent
  return {
    sentBytesPerSecond: (after.bytesSent - before.bytesSent) / seconds,
    receivedBytesPerSecond: (after.bytesReceived - before.bytesReceived) / seconds,
    requestsPerSecond: (after.status.streams - before.status.streams) / seconds,
    lossRatio: packets <= 0 ? 0 : Math.min(1, (after.packetsLost - before.packetsLost) / packets),
  }
}
