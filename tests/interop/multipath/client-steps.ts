/** Runs a stranger's client through its steps and gathers what it counted after each. */
import { PeerProcess } from '../peer-process.ts'

export interface ClientSteps {
  /** Who it is, for messages. */
  readonly name: string
  readonly command: readonly string[]
  readonly steps: readonly string[]
  readonly logFile: string
  /** For each step. */
  readonly limitMs: number
  readonly stopGraceMs: number
}

/** The facts after each step, by step. Rejects when a step fails or takes too long. */
export async function runClientSteps<Facts>(options: ClientSteps): Promise<ReadonlyMap<string, Facts>> {
  const { name, command, steps, logFile, limitMs, stopGraceMs } = options
  const client = new PeerProcess(name, [...command, ...steps], {}, logFile)
  try {
    const facts = new Map<string, Facts>()
    for (const step of steps) facts.set(step, (await client.report(step, limitMs))['facts'] as Facts)
    await client.report('done', limitMs)
    return facts
  } finally {
    await client.stop(stopGraceMs)
  }
}
