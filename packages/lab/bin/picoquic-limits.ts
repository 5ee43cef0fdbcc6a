/** Prints picoquic's limits for several paths beside what our engine takes, as a table. */
import { parseArgs } from 'node:util'
import { congestionAlgorithms, type CongestionAlgorithm } from '@quicether/transport'
import { limitCases, runLimit } from '../src/picoquic-limits.ts'

const usage = `usage: node packages/lab/bin/picoquic-limits.ts [--seed N] [--congestion NAME,…]
  --seed N           seed of the virtual world (default 1)
  --congestion NAME  one column for each: ${congestionAlgorithms.join(', ')} (default: cubic,bbr)`

function fail(message: string): never {
  console.error(`${message}\n${usage}`)
  process.exit(2)
}

function parse(): { seed: number; columns: readonly CongestionAlgorithm[] } {
  try {
    const options = {
      seed: { type: 'string', default: '1' },
      congestion: { type: 'string', default: 'cubic,bbr' },
    } as const
    const { values } = parseArgs({ options })
    const seed = Number(values.seed)
    if (!Number.isSafeInteger(seed)) fail(`--seed ${values.seed}: expected a whole number`)
    const columns = values.congestion.split(',').map((name) => {
      const known = congestionAlgorithms.find((algorithm) => algorithm === name)
      return known ?? fail(`--congestion ${name}: not known`)
    })
    return { seed, columns }
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

const { seed, columns } = parse()
console.log(
  `| test of picoquic | what happens | limit | ${columns.join(' | ')} |\n|---|---|---|${columns.map(() => '---|').join('')}`,
)
for (const each of limitCases) {
  const cells = columns.map((congestion) => {
    try {
      const { measuredUs, failure } = runLimit(each, seed, { congestion })
      const time = `${(measuredUs / 1e6).toFixed(2)} s`
      return failure === undefined ? time : `**${time}**`
    } catch (error) {
      return `**${error instanceof Error ? error.message.split('\n')[0] : error}**`
    }
  })
  console.log(`| ${each.name} | ${each.about} | ${(each.limitUs / 1e6).toFixed(2)} s | ${cells.join(' | ')} |`)
}
