/** A straight line through samples: how fast a value grows, and how sure that is. */

export interface Slope {
  /** Units of `y` for one unit of `x`. */
  readonly perX: number
  /** Half of the 95 % confidence interval of `perX`; Infinity with fewer than three samples. */
  readonly margin: number
}

/** Two-sided 95 % quantiles of Student's t by degrees of freedom; beyond the table the normal value is close enough. */
const quantiles = [12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.2, 2.18, 2.16, 2.14, 2.13]
const NORMAL_QUANTILE = 2

/** Least squares through the points (`xs[i]`, `ys[i]`). Throws when there are none or all `xs` are equal. */
export function slopeOf(xs: readonly number[], ys: readonly number[]): Slope {
  const count = xs.length
  const meanX = mean(xs)
  const meanY = mean(ys)
  let xx = 0
  let xy = 0
  for (const [index, x] of xs.entries()) {
    xx += (x - meanX) ** 2
    xy += (x - meanX) * ((ys[index] ?? 0) - meanY)
  }
  if (xx === 0) throw new Error('a slope needs samples at two different times at least')
  const perX = xy / xx
  let residual = 0
  for (const [index, x] of xs.entries()) residual += ((ys[index] ?? 0) - meanY - perX * (x - meanX)) ** 2
  const freedom = count - 2
  if (freedom < 1) return { perX, margin: Infinity }
  const quantile = quantiles[freedom - 1] ?? NORMAL_QUANTILE
  return { perX, margin: quantile * Math.sqrt(residual / freedom / xx) }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
