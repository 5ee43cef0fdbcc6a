/** Tests of W3C Trace Context: which traces go on, which begin here, and what the service is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { beginTrace, parseTraceParent, withTrace } from './trace-context.ts'

const valid = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

test('a valid traceparent goes on with its trace, its parent and its decision', () => {
  for (const [flags, isSampled] of [
    ['01', true],
    ['00', false],
    ['03', true],
  ] as const) {
    const trace = beginTrace([['traceparent', valid.replace(/01$/u, flags)]], 1)
    assert.deepEqual(
      [trace.traceId, trace.parentSpanId, trace.isSampled],
      ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7', isSampled],
    )
  }
})

for (const [name, value] of [
  ['of an unknown form', 'x'],
  ['in upper case', valid.toUpperCase()],
  ['of the version ff', `ff${valid.slice(2)}`],
  ['of version 00 with a fifth field', `${valid}-00`],
  ['with a trace of zeros', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`],
  ['with a span of zeros', `00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`],
] as const) {
  test(`a traceparent ${name} begins a new trace, and its tracestate ends here`, () => {
    assert.equal(parseTraceParent(value), undefined)
    const trace = beginTrace(
      [
        ['traceparent', value],
        ['tracestate', 'a=1'],
      ],
      1,
    )
    assert.equal(trace.parentSpanId, undefined)
    assert.equal(trace.traceState, undefined)
    assert.notEqual(trace.traceId, '4bf92f3577b34da6a3ce929d0e0e4736')
  })
}

test('a later version is read by its first four fields', () => {
  assert.deepEqual(parseTraceParent(`cc${valid.slice(2)}-what-comes`), parseTraceParent(valid))
})

test('two traceparents are none', () => {
  const trace = beginTrace([['traceparent', valid], ['traceparent', valid]], 1) // biome-ignore format: one line
  assert.equal(trace.parentSpanId, undefined)
})

test('the service is told one traceparent, that of our own span, and other fields stay', () => {
  const headers = [
    ['accept', '*/*'],
    ['traceparent', valid],
    ['tracestate', 'a=1,b=2'],
    ['tracestate', 'c=3'],
  ] as const
  const trace = beginTrace(headers, 1)
  assert.deepEqual(withTrace(headers, trace), [
    ['accept', '*/*'],
    ['traceparent', `00-${trace.traceId}-${trace.clientSpanId}-01`],
    ['tracestate', 'a=1,b=2,c=3'],
  ])
})

test('a tracestate of any length is passed on in whole entries, at most 512 characters', () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z]{1,20}=[a-z]{1,100}$/u), { minLength: 1, maxLength: 20 }),
      (entries) => {
        const { traceState } = beginTrace([['traceparent', valid], ['tracestate', entries.join(',')]], 1) // biome-ignore format: one line
        assert.ok((traceState ?? '').length <= 512)
        assert.ok(entries.join(',').startsWith(traceState ?? ''))
        for (const entry of (traceState ?? entries[0] ?? '').split(',')) assert.ok(entries.includes(entry))
      },
    ),
  )
})

test('a ratio of 0 samples no new trace and 1 all; in between about that share', () => {
  const sampled = (ratio: number): number =>
    Array.from({ length: 2_000 }, () => beginTrace([], ratio).isSampled).filter(Boolean).length
  assert.equal(sampled(0), 0)
  assert.equal(sampled(1), 2_000)
  const half = sampled(0.5)
  assert.ok(half > 800 && half < 1_200, String(half))
})
