/** The laws of LIA (RFC 6356), OLIA (Khalili et al., CoNEXT 2012) and BALIA (Peng et al., ToN 2016). */

/** What a law knows of one path. Windows are bytes. */
export interface CoupledView {
  readonly windowBytes: number
  readonly smoothedRttUs: number
  /** Bytes acknowledged between the last two losses, and since the last one. */
  readonly lossIntervalBytes: number
  readonly sinceLossBytes: number
}

export interface CoupledLaw {
  /** Datagrams by which the window of `own` grows per byte acknowledged; 0 or more. `all` includes `own`. */
  growth(own: CoupledView, all: readonly CoupledView[]): number
  /** Share of its window that `own` gives up upon congestion. */
  decrease(own: CoupledView, all: readonly CoupledView[]): number
}

const HALF = 0.5

const lia: CoupledLaw = {
  growth(own, all) {
    let totalBytes = 0
    let rates = 0
    let best = 0
    for (const { windowBytes, smoothedRttUs } of all) {
      totalBytes += windowBytes
      rates += windowBytes / smoothedRttUs
      best = Math.max(best, windowBytes / (smoothedRttUs * smoothedRttUs))
    }
    // RFC 6356 §3: alpha = cwnd_total * MAX (cwnd_i / rtt_i^2) / (SUM (cwnd_i / rtt_i))^2
    const alpha = (totalBytes * best) / (rates * rates)
    // RFC 6356 §3: min (alpha * bytes_acked * MSS_i / cwnd_total, bytes_acked * MSS_i / cwnd_i)
    return Math.min(alpha / totalBytes, 1 / own.windowBytes)
  },
  // RFC 6356 §3: the decrease on a drop is that of NewReno
  decrease: () => HALF,
}

/** OLIA's measure of a path: it grows with the inverse of the loss rate over the square of the round trip. */
function quality({ lossIntervalBytes, sinceLossBytes, smoothedRttUs }: CoupledView): number {
  return Math.max(lossIntervalBytes, sinceLossBytes) / (smoothedRttUs * smoothedRttUs)
}

const olia: CoupledLaw = {
  growth(own, all) {
    let rates = 0
    let best = 0
    let widest = 0
    for (const view of all) {
      rates += view.windowBytes / view.smoothedRttUs
      best = Math.max(best, quality(view))
      widest = Math.max(widest, view.windowBytes)
    }
    // Windows move from the paths that have the largest to the best ones that do not.
    let collected = 0
    let wide = 0
    for (const view of all) {
      if (view.windowBytes >= widest) wide++
      else if (quality(view) >= best) collected++
    }
    let alpha = 0
    if (collected > 0) {
      if (own.windowBytes >= widest) alpha = -1 / (all.length * wide)
      else if (quality(own) >= best) alpha = 1 / (all.length * collected)
    }
    const { windowBytes, smoothedRttUs } = own
    const shared = windowBytes / (smoothedRttUs * smoothedRttUs) / (rates * rates)
    // A negative alpha slows growth down here rather than shrink a window without a loss.
    return Math.max(shared + alpha / windowBytes, 0)
  },
  decrease: () => HALF,
}

/** Rate of the fastest path over the own rate. */
function imbalance(own: CoupledView, all: readonly CoupledView[]): number {
  if (own.smoothedRttUs === 0) return 1
  let fastest = 0
  for (const { windowBytes, smoothedRttUs } of all) fastest = Math.max(fastest, windowBytes / smoothedRttUs)
  return (fastest * own.smoothedRttUs) / own.windowBytes
}

const BALIA_ALPHA_MAX = 1.5

const balia: CoupledLaw = {
  growth(own, all) {
    let rates = 0
    for (const { windowBytes, smoothedRttUs } of all) rates += windowBytes / smoothedRttUs
    const alpha = imbalance(own, all)
    const { windowBytes, smoothedRttUs } = own
    const shared = windowBytes / (smoothedRttUs * smoothedRttUs) / (rates * rates)
    return shared * ((1 + alpha) / 2) * ((4 + alpha) / 5)
  },
  decrease: (own, all) => HALF * Math.min(imbalance(own, all), BALIA_ALPHA_MAX),
}

export const laws = { lia, olia, balia } as const satisfies Record<string, CoupledLaw>
