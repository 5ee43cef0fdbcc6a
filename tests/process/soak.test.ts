/** A soak in small: the harness kills clients and services, every byte is checked, and the router outlives it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

interface Result {
  readonly requests: number
  readonly clientKills: number
  readonly serviceKills: number
  readonly wrong: readonly string[]
  readonly unexplained: readonly string[]
  readonly samples: readonly { readonly heapBytes: number }[]
}

test('the router serves on while clients and services are killed, and no byte is wrong', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-soak-test-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'result.json')
  const main = join(import.meta.dirname, '../soak/main.ts')
  const child = spawn(process.execPath, [main, '--seconds', '4', '--clients', '2', '--json', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.equal(code, 0, said)
  const result = JSON.parse(readFileSync(file, 'utf8')) as Result
  assert.deepEqual([result.wrong, result.unexplained], [[], []])
  assert.ok(result.requests > 0 && result.clientKills > 0 && result.serviceKills > 0, said)
  assert.ok(result.samples.every((sample) => sample.heapBytes > 0))
})
