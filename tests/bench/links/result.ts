/** What a run of the link benchmark leaves behind: every single measurement, and where it was taken. */
import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'
import type { OutageResult, RebindResult, ShareResult } from './measure.ts'

/** The measurements of one contender in one case, in the order they were taken; null = it failed, see `failures`. */
export interface Cell<Result> {
  readonly contender: string
  readonly case: string
  readonly runs: (Result | null)[]
}

export interface Machine {
  readonly when: string
  readonly processor: string
  readonly cores: number
  readonly memoryMB: number
  readonly kernel: string
  readonly node: string
  readonly loadBefore: number
  /** Share of the processors' time that the host took away meanwhile; null where /proc does not tell. */
  stealShare: number | null
  readonly versions: Readonly<Record<string, string>>
}

export interface LinksResult {
  readonly command: string
  readonly repeats: number
  readonly seconds: number
  readonly machine: Machine
  readonly contenders: readonly { readonly name: string; readonly about: string }[]
  readonly shares: readonly Cell<ShareResult>[]
  readonly outages: readonly Cell<OutageResult>[]
  readonly rebinds: readonly Cell<RebindResult>[]
  /** What went wrong, in full; part of the result, never left out. */
  readonly failures: readonly string[]
  /** What could not be measured here, with the reason. */
  readonly leftOut: readonly string[]
}

/** The machine as it is now. */
export function describeMachine(versions: Readonly<Record<string, string>>): Machine {
  return {
    when: new Date().toISOString(),
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryMB: Math.round(totalmem() / 1e6),
    kernel: release(),
    node: process.version,
    loadBefore: loadavg()[0] ?? 0,
    stealShare: null,
    versions,
  }
}

/** First line of what a program says of its version; `not there` if it does not start. */
export function versionOf(command: string, ...args: readonly string[]): string {
  try {
    return (
      execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).split('\n')[0] ?? ''
    ).trim()
  } catch {
    return 'not there'
  }
}
