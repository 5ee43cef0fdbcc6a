/** Test reporter of `npm run check`: failures in full, skips with their reason, one closing line with the counts. */
import { inspect } from 'node:util'
import type { TestEvent } from 'node:test/reporters'

/** Yields text for the events of one run of `node --test`. */
export async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let counts: { tests: number; passed: number; skipped: number; todo: number } | undefined
  for await (const event of source) {
    if (event.type === 'test:fail') yield* failure(event.data)
    else if (event.type === 'test:pass') yield* skip(event.data)
    else if (event.type === 'test:stderr' || event.type === 'test:stdout') yield event.data.message
    else if (event.type === 'test:summary' && event.data.file === undefined) counts = event.data.counts
  }
  if (counts === undefined) {
    yield 'the test runner ended without a summary\n'
    return
  }
  const skipped = counts.skipped + counts.todo
  const failed = counts.tests - counts.passed - skipped
  yield `${counts.passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`
}

type Passed = Extract<TestEvent, { type: 'test:pass' }>['data']
type Failed = Extract<TestEvent, { type: 'test:fail' }>['data']

function* failure(data: Failed): Generator<string> {
  const error = data.details.error
  // A suite that fails because a test in it failed has nothing of its own to say.
  if ('failureType' in error && error.failureType === 'subtestsFailed') return
  const cause = error.cause ?? error
  const text =
    cause instanceof Error ? (cause.stack ?? cause.message) : typeof cause === 'string' ? cause : inspect(cause)
  yield `✖ ${data.name}\n  ${data.file ?? ''}${data.line === undefined ? '' : `:${data.line}`}\n  ${text.split('\n').join('\n  ')}\n`
}

function* skip(data: Passed): Generator<string> {
  const reason = data.skip ?? data.todo
  if (reason === undefined || reason === false) return
  yield `skipped: ${data.name}${typeof reason === 'string' && reason !== '' ? ` (${reason})` : ' (no reason given)'}\n`
}

// biome-ignore lint/style/noDefaultExport: the test runner loads a reporter by its default export.
export { report as default }
