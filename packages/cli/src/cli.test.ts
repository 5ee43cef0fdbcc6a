/** Tests of flags, tables, pictures and explanations that need no process. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientStream } from '@quicether/router'
import { UserError } from '@quicether/router'
import { explain } from './explain.ts'
import { byteSize, portNumber, wholeNumber } from './option-values.ts'
import { createProgram } from './program.ts'
import { clientTable, streamPicture } from './terminal/client-table.ts'
import { renderLive, sparkline } from './terminal/live-view.ts'

for (const [text, bytes] of [
  ['4096', 4_096],
  ['64k', 64_000],
  ['64Ki', 65_536],
  ['1.5M', 1_500_000],
  ['2MiB', 2_097_152],
] as const) {
  test(`a size of ${text} is ${bytes} bytes`, () => assert.equal(byteSize(text), bytes))
}

for (const text of ['', '0', '5x', '-1', '1G', '300Mi', 'NaN']) {
  test(`a size of "${text}" is refused with examples`, () => assert.throws(() => byteSize(text), /Expected a size/u))
}

for (const text of ['', '-1', '65536', '1.5', '0x10', '1e3', ' 1']) {
  test(`a port of "${text}" is refused with its bounds`, () =>
    assert.throws(() => portNumber(text), /from 0 to 65535/u))
}

test('numbers within bounds are taken', () => assert.equal(wholeNumber(1, 9)('9'), 9))

test('every command has help with examples', () => {
  const program = createProgram()
  assert.deepEqual(
    program.commands.map((command) => command.name()),
    ['router', 'services', 'client', 'report', 'demo', 'serve', 'get', 'schedulers', 'capture', 'certs'],
  )
  for (const command of program.commands) {
    let text = ''
    command.configureOutput({
      writeOut: (part) => {
        text += part
      },
    })
    command.outputHelp()
    assert.match(text, /Examples:\n {2}\$ /u, command.name())
    assert.match(text, /print this help/u, command.name())
  }
})

test('a mistake of the user is one line with what, where and remedy', () => {
  const error = new UserError('ERR_PORT_IN_USE', {
    what: 'port 1 is taken',
    where: '--port',
    remedy: 'Choose another one.',
  })
  assert.deepEqual(explain(error), { line: 'quicether: port 1 is taken (--port). Choose another one.', exitCode: 1 })
})

test('a coded error of a layer below gets its remedy and no stack', () => {
  const { line, exitCode } = explain(
    Object.assign(new Error('127.0.0.1:4433 is in use\n  at x'), { code: 'ERR_PORT_IN_USE' }),
  )
  assert.equal(exitCode, 1)
  assert.match(line, /^quicether: 127\.0\.0\.1:4433 is in use\. Stop what uses that UDP port/u)
  assert.ok(!line.includes('\n'))
})

test('a bug of ours is one line that says where', () => {
  const { line, exitCode } = explain(new TypeError('x is not a function'))
  assert.equal(exitCode, 70)
  assert.match(line, /internal error: x is not a function \(.*cli\.test\.ts/u)
  assert.ok(!line.includes('\n'))
})

const stream: ClientStream = {
  round: 0,
  stream: 4,
  service: 'video',
  task: 'upload',
  status: 200,
  isRight: true,
  note: '3 frames',
  requestBytes: 1_000,
  responseBytes: 20,
  startMs: 50,
  headMs: 25,
  durationMs: 50,
  throughputBytesPerSecond: 20_400,
  jitterMs: 1.5,
  packetsSent: 2,
  packetsReceived: 3,
  retransmissions: 0,
}

test('the picture draws a stream where it ran', () => {
  const [first = ''] = streamPicture([stream, { ...stream, startMs: 0, headMs: null, stream: null }]).split('\n')
  assert.equal(first, `     4  video   upload    │${' '.repeat(30)}${'░'.repeat(15)}${'█'.repeat(15)}│ 50.0 ms`)
})

test('the table marks wrong answers', () => {
  assert.match(clientTable([{ ...stream, isRight: false, note: 'status 502: dead' }]), /✘.*status 502: dead/u)
})

test('the live view shows connections, streams and rates', () => {
  const counts = {
    connectionsOpen: 1,
    connections: 2,
    streamsOpen: 3,
    streams: 9,
    failed: 1,
    requestBytes: 10,
    responseBytes: 20,
    byType: [{ type: 'video', open: 3, streams: 9, bytes: 30 }],
  }
  const source = {
    title: 'router',
    live: () => counts,
    upstreamStats: () => [{ name: 'video', connected: 4, running: 1, queued: 0 }],
  }
  const lines = renderLive(source, counts, [0, 125_000], () => 125_000).join('\n')
  assert.match(lines, /connections 1 open, 2 in all {3}streams 3 open, 9 in all, 1 failed/u)
  assert.match(lines, /video +3 +9 +30 B +1\.0 Mbit\/s +4/u)
  assert.equal(sparkline([0, 50, 100]), ' ▄█')
})
