/** The time limits that picoquic sets itself for several paths, met by our engine with its default settings. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limitCases, runLimit } from './picoquic-limits.ts'

/** Where default settings are over the limit: how far, in docs/multipath.md why. A change for the better shortens this list. */
const over: Readonly<Record<string, number>> = { sat_plus: 1.2 }

for (const each of limitCases)
  test(`picoquic ${each.name}: ${each.about}`, (context) => {
    const { measuredUs, limitUs, failure } = runLimit(each, 1)
    context.diagnostic(`${(measuredUs / 1e6).toFixed(2)} s of ${(limitUs / 1e6).toFixed(2)} s`)
    const excess = over[each.name]
    if (excess === undefined) assert.equal(failure, undefined)
    else assert.ok(measuredUs < excess * limitUs, `${measuredUs} us of ${limitUs} us`)
  })
