/** Prints what NAT rebindings and migrations cost (goal G6): the table of docs/multipath.md. */
import { migrateAgainAndAgain, rebindingGap } from '../src/migrations.ts'

const links = [
  { name: '50 Mbit/s 5 ms', link: { rateBitsPerSecond: 50e6, delayUs: 5_000 } },
  { name: '20 Mbit/s 40 ms', link: { rateBitsPerSecond: 20e6, delayUs: 40_000 } },
]
const milli = (us: number): string => `${(us / 1_000).toFixed(0)} ms`

console.log('| link | transfer | the NAT gives another | longest gap | 1.5 RTT + PTO |\n|---|---|---|---|---|')
for (const { name, link } of links) {
  for (const direction of ['download', 'upload'] as const) {
    for (const publicAddress of [undefined, '198.51.100.77']) {
      const what = publicAddress === undefined ? 'port' : 'address'
      const options = { link, direction, ...(publicAddress === undefined ? {} : { publicAddress }) }
      const reports = [1, 2, 3].map((seed) => rebindingGap({ seed, ...options }))
      const [worst] = reports.toSorted((x, y) => y.gapUs / y.allowedUs - x.gapUs / x.allowedUs)
      if (worst !== undefined)
        console.log(`| ${name} | ${direction} | ${what} | ${milli(worst.gapUs)} | ${milli(worst.allowedUs)} |`)
    }
  }
}
for (const hasSecondPath of [false, true]) {
  const { migrations, cidsUsed, before, after } = migrateAgainAndAgain({ seed: 1, count: 1_000, hasSecondPath })
  const which = hasSecondPath ? 'one path of two' : 'the only path'
  console.log(
    `${migrations} migrations of ${which}: ${cidsUsed} connection IDs used; kept at client and server: ${before.routes.join(' and ')} before, ${after.routes.join(' and ')} after`,
  )
}
