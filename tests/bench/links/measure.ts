/** One measurement each: build the links, move the file, look at what came when. */
import type { OutageCase, RebindCase, ShareCase } from './cases.ts'
import { gapGoalMs, rebindGoalMs, rttMs, sumMbit } from './cases.ts'
import type { Contender } from './contenders.ts'
import { Topology } from './topology.ts'

/** The file every contender sends. */
export interface Material {
  /** A file of this many bytes at least. */
  fileOf(bytes: number): string
}

export interface ShareResult {
  readonly mbit: number
  readonly share: number
  /** Bytes of UDP that each link brought; empty where the contender does not tell. */
  readonly linkBytes: readonly number[]
  readonly cpuSeconds: number | null
}

export interface OutageResult {
  readonly gapMs: number
  readonly goalMs: number
  /** Rate in the second half of the outage, of the surviving link's rate. */
  readonly survivorShare: number
  /** Rate in the third second after the return, of the rate before the failure. */
  readonly returnShare: number
}

export interface RebindResult {
  readonly gapMs: number
  readonly goalMs: number
}

/** How long each part of a measurement lasts, in milliseconds. */
export interface Durations {
  readonly shareSeconds: number
  readonly warmUpMs: number
  readonly outageMs: number
}

const BEGIN_MS = 10_000
const RETURN_MS = 3_000
const REBIND_MS = 2_000

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

interface GetReport {
  readonly durationMs: number
  readonly paths: readonly { readonly local: string; readonly bytesReceived: number }[]
}

/** Goodput of one transfer, slow start included. */
export async function measureShare(
  contender: Contender,
  { links }: ShareCase,
  seed: number,
  seconds: number,
  material: Material,
): Promise<ShareResult> {
  const sum = sumMbit(links)
  const topology = new Topology(links, seed)
  try {
    if (contender.measureMbit !== undefined) {
      const mbit = await contender.measureMbit(topology, seconds)
      return { mbit, share: mbit / sum, linkBytes: [], cpuSeconds: null }
    }
    const bytes = Math.round((sum * seconds * 1e6) / 8)
    const file = material.fileOf(bytes)
    await using serving = await contender.serve(topology, file)
    const transfer = serving.download()
    const code = await transfer.finished(BEGIN_MS + seconds * 10_000)
    transfer.verify(file)
    if (code !== 0 || transfer.bytes !== bytes) {
      throw new Error(
        `${contender.name} ended with code ${code} after ${transfer.bytes} of ${bytes} bytes: ${transfer.stderr}`,
      )
    }
    const report = JSON.parse(transfer.stderr.slice(transfer.stderr.indexOf('{'))) as GetReport
    const mbit = (bytes * 8) / (report.durationMs * 1_000)
    const linkBytes = links.map((_, index) =>
      report.paths
        .filter(({ local }) => local.startsWith(`10.99.${index + 1}.`))
        .reduce((total, path) => total + path.bytesReceived, 0),
    )
    return { mbit, share: mbit / sum, linkBytes, cpuSeconds: transfer.cpuSeconds }
  } finally {
    topology.down()
  }
}

/** A link fails for a while in the middle of a download that is longer than all this. */
export async function measureOutage(
  contender: Contender,
  { links, fails, how }: OutageCase,
  seed: number,
  durations: Durations,
  material: Material,
): Promise<OutageResult> {
  const topology = new Topology(links, seed)
  const survivor = fails === 1 ? 2 : 1
  try {
    const file = material.fileOf(endlessBytes(links, durations))
    await using serving = await contender.serve(topology, file)
    const transfer = serving.download({ followsInterfaces: true })
    await transfer.begun(BEGIN_MS)
    await sleep(durations.warmUpMs)
    const queues = [await topology.queueMs(1), await topology.queueMs(2)]
    const [deadRtt, survivorRtt] = [fails, survivor].map((link) =>
      rttMs(links[link - 1] as ShareCase['links'][0], queues[link - 1] ?? 0),
    ) as [number, number]
    const failedMs = performance.now()
    const rateBefore = transfer.rateMbit(failedMs - 1_000, failedMs)
    if (how === 'silent') topology.cut(fails)
    else await topology.interfaceDown(fails)
    await sleep(durations.outageMs)
    const backMs = performance.now()
    if (how === 'silent') topology.mend(fails)
    else await topology.interfaceUp(fails)
    await sleep(RETURN_MS)
    const endMs = performance.now()
    await transfer.stop()
    transfer.verify(file)
    const survivorRate = transfer.rateMbit((failedMs + backMs) / 2, backMs)
    return {
      gapMs: transfer.gapMs(failedMs, backMs),
      goalMs: gapGoalMs(how, survivorRtt, deadRtt),
      survivorShare: survivorRate / (links[survivor - 1]?.rateMbit ?? Number.NaN),
      returnShare: transfer.rateMbit(endMs - 1_000, endMs) / rateBefore,
    }
  } finally {
    topology.down()
  }
}

/** The NAT of the first link gives the client another port in the middle of a download. */
export async function measureRebind(
  contender: Contender,
  { links }: RebindCase,
  seed: number,
  durations: Durations,
  material: Material,
): Promise<RebindResult> {
  const topology = new Topology(links, seed)
  try {
    const file = material.fileOf(endlessBytes(links, durations))
    await using serving = await contender.serve(topology, file)
    const transfer = serving.download()
    await transfer.begun(BEGIN_MS)
    await sleep(durations.warmUpMs)
    const goalMs = rebindGoalMs(rttMs(links[0] as ShareCase['links'][0], await topology.queueMs(1)))
    const reboundMs = performance.now()
    topology.rebind(1)
    await sleep(REBIND_MS)
    const endMs = performance.now()
    await transfer.stop()
    transfer.verify(file)
    return { gapMs: transfer.gapMs(reboundMs, endMs), goalMs }
  } finally {
    topology.down()
  }
}

function endlessBytes(links: ShareCase['links'] | RebindCase['links'], { warmUpMs, outageMs }: Durations): number {
  return Math.round((sumMbit(links) * (warmUpMs + outageMs + RETURN_MS + 2_000) * 1_000) / 8)
}
