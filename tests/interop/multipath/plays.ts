/** What our client does alike against every stranger. */
import assert from 'node:assert/strict'
import { MIB } from './limits.ts'
import type { OurClient } from './ours.ts'

/** Echoes 4 MiB; `act` runs once, when the first of them is back. Milliseconds that all of it took. */
export async function echoInterrupted(client: OurClient, act: () => void): Promise<number> {
  let isDone = false
  const began = performance.now()
  await client.streams.echo(4 * MIB, (back) => {
    if (isDone || back < MIB) return
    isDone = true
    act()
  })
  assert.ok(isDone, 'the echo was interrupted')
  return Math.round(performance.now() - began)
}

/** The socket of the first path, at `local`, is gone in the middle of an echo; path `id` goes on. */
export async function survivesACut(client: OurClient, local: string, id: number): Promise<string> {
  const ms = await echoInterrupted(client, () => client.cut(local))
  return `4 MiB in ${ms} ms with path 0 dead after the first, path ${id} alive`
}
