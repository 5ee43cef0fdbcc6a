/** Medians and ratios of repeated measurements. */

/** Undefined for an empty list. */
export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]
  if (upper === undefined || sorted.length % 2 === 1) return upper
  return (upper + (sorted[middle - 1] as number)) / 2
}

/** Half the distance between the quartiles, as a share of the median: how much to believe a figure. */
export function spread(values: readonly number[]): number | undefined {
  const middle = median(values)
  if (middle === undefined || middle === 0 || values.length < 3) return undefined
  const sorted = [...values].sort((a, b) => a - b)
  const low = median(sorted.slice(0, (sorted.length + 1) >> 1)) as number
  const high = median(sorted.slice(sorted.length >> 1)) as number
  return (high - low) / 2 / middle
}
