/** `npm run soak`: the router under mixed load while clients and services are killed; no wrong byte, no growing memory. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Soak, type SoakOptions, type SoakResult } from './soak.ts'
import { summaryOf, verdictOf } from './summary.ts'

const usage = `usage: npm run soak -- [options]
  --minutes N     how long (default 1)
  --seconds N     instead of minutes
  --clients N     client processes at once (default 3)
  --seed N        of what is asked and who is killed when (default 1)
  --pause MS      longest pause of a client between two connections (default 20)
  --json FILE     write the result to a file

example: nice npm run soak -- --minutes 30`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      seconds: { type: 'string' },
      clients: { type: 'string', default: '3' },
      seed: { type: 'string', default: '1' },
      pause: { type: 'string', default: '20' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(`${usage}\n`)
    return 0
  }
  const minutes = values.minutes === undefined ? 1 : number('--minutes', values.minutes, 0.1, 1_440)
  const directory = mkdtempSync(join(tmpdir(), 'quicether-soak-'))
  const options: SoakOptions = {
    seconds: values.seconds === undefined ? minutes * 60 : number('--seconds', values.seconds, 1, 86_400),
    clients: number('--clients', values.clients, 1, 64),
    seed: number('--seed', values.seed, 0, 2 ** 32 - 1),
    pauseMs: number('--pause', values.pause, 0, 60_000),
    directory,
    say: (line) => process.stdout.write(`${line}\n`),
  }
  let result: SoakResult
  try {
    const soak = await Soak.start(options)
    process.once('SIGINT', () => soak.stop())
    process.once('SIGTERM', () => soak.stop())
    result = await soak.run()
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`)
  process.stdout.write(`${summaryOf(result)}\n`)
  const reasons = verdictOf(result)
  for (const reason of reasons) process.stdout.write(`FAILED: ${reason}\n`)
  process.stdout.write(reasons.length === 0 ? '1 passed, 0 failed\n' : '0 passed, 1 failed\n')
  return reasons.length === 0 ? 0 : 1
}

function number(option: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= min && value <= max)) {
    throw new RangeError(`${option}: "${text}" is not a number from ${min} to ${max}`)
  }
  return value
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`soak: ${error instanceof Error ? error.message : String(error)}\n`)
  const isUsage = error instanceof RangeError || (error instanceof TypeError && 'code' in error)
  if (isUsage) process.stderr.write(`${usage}\n`)
  process.exitCode = isUsage ? 2 : 1
}
