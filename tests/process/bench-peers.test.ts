/** The harness of bench:peers with ours against ours: real processes, no other implementation is needed. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { cases } from '../bench/peers/cases.ts'
import { makeOwnCertificates } from '../bench/peers/certificates.ts'
import { contenders } from '../bench/peers/contenders.ts'
import { OURS } from '../bench/peers/result.ts'
import { conclude, measureAll } from '../bench/peers/session.ts'

test('two implementations are measured in turn and compared round by round', async () => {
  const ours = contenders.find(({ name }) => name === OURS)
  assert.ok(ours !== undefined)
  // Both finish at least one piece of work, however slow the machine is.
  const chosen = cases.filter(({ name }) => name === 'handshakes-full' || name === 'requests')
  const folder = mkdtempSync(join(tmpdir(), 'quicether-bench-smoke-'))
  try {
    makeOwnCertificates(folder)
    const options = { folder, seconds: 1, warmupSeconds: 0, shrink: 1 }
    const absent: { contender: string; subject: string; reason: string }[] = []
    const samples = await measureAll([ours, { ...ours, name: 'twin' }], chosen, 1, options, absent)
    assert.deepEqual(absent, [])
    for (const { values } of samples) assert.ok(values.length === 1 && (values[0] as number) >= 0)
    const compared = conclude(samples).ratios.map(({ subject, metric, against }) => `${subject} ${metric} ${against}`)
    // Processor time of a second may be too little to count; rates are not.
    for (const subject of ['handshakes-full', 'requests']) assert.ok(compared.includes(`${subject} rate twin`), subject)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
