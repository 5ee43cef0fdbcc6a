/** What pauses of the programs at both ends cost a transfer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CongestionAlgorithm, congestionAlgorithms } from '@quicether/transport'
import { addPauses, type PauseOptions } from './pauses.ts'
import { world } from './scenario.ts'

const RATE = 20e6
const TRANSFER_US = 5_000_000
/** Up to 30 ms at a time, a fifth of all time: a busy event loop, a collector, too few processors. */
const pauses: PauseOptions = { everyUs: [20_000, 120_000], lengthUs: [5_000, 30_000] }

/** Share of the link that a download gets while the server, the client or nobody pauses. */
function shareWith(congestion: CongestionAlgorithm, busy: readonly ('server' | 'client')[]): number {
  const config = { congestion }
  const link = { rateBitsPerSecond: RATE, delayUs: 10_000 }
  const lab = world({ seed: 5, links: { only: link }, clientConfig: config, serverConfig: config })
  const drivers = { server: lab.server.driver, client: lab.client.party.driver }
  for (const name of busy) addPauses(lab.world, name, drivers[name], pauses)
  const download = lab.client.download((RATE * TRANSFER_US) / 8e6)
  lab.until(download.finished, { withinUs: 20 * TRANSFER_US, what: 'the download' })
  return download.goodputBitsPerSecond / RATE
}

for (const congestion of congestionAlgorithms)
  test(`pauses of both programs cost a transfer with ${congestion} next to nothing`, () => {
    const quiet = shareWith(congestion, [])
    assert.ok(quiet > 0.9, `${quiet}`)
    for (const busy of [['server'], ['client'], ['server', 'client']] as const) {
      const share = shareWith(congestion, busy)
      assert.ok(share > quiet - 0.04, `${share} of the link instead of ${quiet} with a busy ${busy.join(' and ')}`)
    }
  })
