/** The checks of h3spec against a real router process: each violation is met with the error that the RFC names. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratchDirectory, startRouterProcess } from './cli-process.ts'
import { objectionTo } from './h3spec/raw-client.ts'
import { http3Vectors, transportVectors, type Vector } from './h3spec/vectors.ts'

/** Vectors at once: each waits for the router most of the time. */
const AT_ONCE = 4

async function check(port: number, { deviation, codes, mayBeStream = false }: Vector, isHttp3: boolean): Promise<void> {
  const { kind, code } = await objectionTo(port, deviation)
  const found = `${kind} error 0x${code.toString(16)}`
  assert.ok(codes.includes(code), `${found} instead of ${codes.map((each) => `0x${each.toString(16)}`).join(' or ')}`)
  const kinds = isHttp3 ? ['application', ...(mayBeStream ? ['stream'] : [])] : ['connection']
  assert.ok(kinds.includes(kind), `${found}, not as ${kinds.join(' or ')} error`)
}

test('the router meets every violation that h3spec knows with the right error', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(
    join(directory, 'router.toml'),
    '[router]\nearly_data = true\nidle_timeout_ms = 120000\n[[service]]\nname = "none"\nprefix = "/"\nurl = "http://127.0.0.1:9"\n',
  )
  const { port } = await startRouterProcess(t, directory, ['--config', 'router.toml'])
  const work = [
    ...transportVectors.map((vector) => ({ vector, isHttp3: false })),
    ...http3Vectors.map((vector) => ({ vector, isHttp3: true })),
  ]
  const running: Promise<void>[] = []
  const worker = async (): Promise<void> => {
    for (let next = work.shift(); next !== undefined; next = work.shift()) {
      const { vector, isHttp3 } = next
      await t.test(`${isHttp3 ? 'HTTP/3' : 'QUIC'} servers ${vector.name}`, () => check(port, vector, isHttp3))
    }
  }
  for (let index = 0; index < AT_ONCE; index += 1) running.push(worker())
  await Promise.all(running)
})
