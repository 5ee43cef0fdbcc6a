/** Tests of the demo services over real HTTP: what they compute, how they refuse, how they stream. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { request } from 'undici'
import { ControlState } from './control-state.ts'
import { startControlService } from './control.ts'
import type { RunningService } from './service-server.ts'
import { startTextService } from './text.ts'
import { TextAnalysis } from './text-analysis.ts'
import { startVideoService } from './video.ts'
import { VideoAnalysis } from './video-analysis.ts'
import { encodeFrame, FrameParser } from './video-framing.ts'

async function running(t: TestContext, start: (options: { port: number }) => Promise<RunningService>): Promise<string> {
  const service = await start({ port: 0 })
  t.after(() => service.close())
  return `http://127.0.0.1:${service.port}`
}

async function post(
  url: string,
  body: Uint8Array | string,
): Promise<{ status: number; json: Record<string, unknown> }> {
  const response = await request(url, { method: 'POST', body })
  return { status: response.statusCode, json: (await response.body.json()) as Record<string, unknown> }
}

const video = (frames: readonly number[]): Uint8Array =>
  Buffer.concat(frames.map((n) => encodeFrame(n, n * 20_000, 500)))

test('frames come out whole however the stream is cut', () => {
  const stream = video([0, 1, 2, 3])
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1 }), (cuts) => {
      const seen: number[] = []
      const parser = new FrameParser((frame) => {
        assert.ok(frame.isIntact)
        assert.equal(frame.sentAtUs, frame.sequence * 20_000)
        seen.push(frame.sequence)
      })
      for (let at = 0, turn = 0; at < stream.length; turn++) {
        const size = cuts[turn % cuts.length] ?? 1
        parser.push(stream.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(seen, [0, 1, 2, 3])
      assert.ok(parser.isAtBoundary())
    }),
  )
})

test('an upload is answered with its frames, gaps, damage and digest', async (t) => {
  const url = await running(t, startVideoService)
  const body = Uint8Array.from(video([0, 1, 4, 3]))
  body[600] = (body[600] ?? 0) ^ 1
  const { status, json } = await post(`${url}/video/upload`, body)
  assert.equal(status, 200)
  assert.equal(json['frames'], 4)
  assert.equal(json['framesMissing'], 2)
  assert.equal(json['framesOutOfOrder'], 1)
  assert.equal(json['framesDamaged'], 1)
  assert.equal(json['bytes'], body.length)
  assert.equal(json['sha256'], createHash('sha256').update(body).digest('hex'))
})

test('jitter of an upload is measured against the capture times in the frames', () => {
  const analysis = new VideoAnalysis()
  for (let at = 0; at < 200; at++) analysis.push(encodeFrame(at, at * 20_000, 10), at * 20 + (at % 2) * 4)
  assert.ok(Math.abs((analysis.finish().frameJitterMs ?? 0) - 4) < 0.05)
})

test('a body that is no video, or ends inside a frame, is refused with the reason', async (t) => {
  const url = await running(t, startVideoService)
  const nonsense = await post(`${url}/video/upload`, 'x'.repeat(100))
  assert.equal(nonsense.status, 400)
  assert.match(String(nonsense.json['error']), /does not begin with QVF1/u)
  const short = await post(`${url}/video/upload`, video([0, 1]).subarray(0, 800))
  assert.match(String(short.json['error']), /ends inside frame 1/u)
})

test('a video stream has the frames asked for, and its digest in the trailers', async (t) => {
  const url = await running(t, startVideoService)
  const response = await request(`${url}/video/stream?frames=12&fps=200&bytes=3000&seed=7`)
  const analysis = new VideoAnalysis()
  for await (const chunk of response.body) analysis.push(chunk as Uint8Array, performance.now())
  const report = analysis.finish()
  assert.equal(report.frames, 12)
  assert.equal(report.framesDamaged, 0)
  assert.equal(response.trailers['x-content-sha256'], report.sha256)
})

test('a wrong number in a query names the query, the bounds and the value', async (t) => {
  const url = await running(t, startVideoService)
  const response = await request(`${url}/video/stream?fps=fast`)
  assert.equal(response.statusCode, 400)
  assert.match(await response.body.text(), /fps=fast: expected a whole number from 0 to 1000/u)
})

test('a text is counted the same however it is cut, also inside a character', () => {
  const text = 'Straße und Fluß – naïve café, l’été!\nDas Wetter war gut, das Wetter blieb gut.\n'
  const bytes = Buffer.from(text.repeat(5))
  const whole = new TextAnalysis()
  whole.push(bytes)
  const expected = whole.finish()
  assert.equal(expected.lines, 10)
  assert.equal(expected.words, 70)
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), (size) => {
      const analysis = new TextAnalysis()
      for (let at = 0; at < bytes.length; at += size) analysis.push(bytes.subarray(at, at + size))
      assert.deepEqual(analysis.finish(), expected)
    }),
  )
})

for (const [language, text] of [
  [
    'english',
    'Nobody knows what will happen when the ships arrive, but there is hope that they bring what we need for the winter.',
  ],
  [
    'german',
    'Niemand weiß, was geschehen wird, wenn die Schiffe ankommen, aber es gibt Hoffnung, dass sie bringen, was wir brauchen.',
  ],
  [
    'french',
    'Personne ne sait ce qui va se passer quand les navires arriveront, mais nous espérons qu’ils apportent ce dont nous avons besoin.',
  ],
  [
    'spanish',
    'Nadie sabe lo que va a pasar cuando lleguen los barcos, pero esperamos que traigan lo que necesitamos para el invierno.',
  ],
] as const) {
  test(`a sentence in ${language} is taken for ${language}`, async (t) => {
    const url = await running(t, startTextService)
    const { json } = await post(`${url}/text/analyze?top=3`, text)
    const languages = json['languages'] as { language: string }[]
    assert.equal(languages[0]?.language, language)
    assert.equal((json['topWords'] as unknown[]).length, 3)
  })
}

test('a service that waits for a slow reader again and again leaves no listeners behind', async (t) => {
  const warnings: string[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const url = await running(t, startVideoService)
  const response = await request(`${url}/video/stream?frames=200&fps=0&bytes=100000`)
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += (chunk as Uint8Array).length
    await sleep(0)
  }
  assert.equal(bytes, 200 * 100_024)
  assert.deepEqual(warnings, [])
})

test('a text is transformed line by line', async (t) => {
  const url = await running(t, startTextService)
  const response = await request(`${url}/text/transform?mode=number`, { method: 'POST', body: 'one\ntwo\nthree' })
  assert.equal(await response.body.text(), '1: one\n2: two\n3: three')
  assert.equal(response.trailers['x-lines'], '3')
})

test('the control service keeps state between requests and refuses what is wrong with place and reason', async (t) => {
  const url = `${await running(t, startControlService)}/control/command`
  const ask = async (command: unknown): Promise<{ status: number; json: Record<string, unknown> }> =>
    post(url, JSON.stringify(command))
  assert.deepEqual((await ask({ command: 'set', key: 'volume', value: 7 })).json, {
    ok: true,
    result: { previous: null },
  })
  assert.deepEqual((await ask({ command: 'increment', key: 'volume', by: 3 })).json, { ok: true, result: 10 })
  assert.deepEqual((await ask({ command: 'list' })).json, { ok: true, result: ['volume'] })
  assert.equal((await ask({ command: 'start-session', session: 's1' })).status, 200)
  const again = await ask({ command: 'start-session', session: 's1' })
  assert.equal(again.status, 422)
  assert.match(String(again.json['error']), /already started/u)
  assert.match(String((await ask({ command: 'fly' })).json['error']), /command: expected .*set/u)
  assert.match(String((await ask({ command: 'set', key: 'a b', value: 1 })).json['error']), /key: expected a name/u)
  assert.equal((await post(url, '{')).status, 400)
  const batch = await ask([
    { command: 'get', key: 'volume' },
    { command: 'get', key: 'none' },
  ])
  assert.deepEqual(batch.json, {
    results: [
      { ok: true, result: 10 },
      { ok: false, error: 'there is no key "none"' },
    ],
  })
})

test('a schedule runs its action as often as asked and then is gone', async () => {
  const state = new ControlState()
  assert.ok(
    state.execute({
      command: 'schedule',
      id: 'tick',
      everyMs: 10,
      times: 3,
      action: { command: 'increment', key: 'n' },
    }).ok,
  )
  for (let at = 0; at < 200 && state.counts().schedules > 0; at++) await sleep(10)
  assert.deepEqual(state.execute({ command: 'get', key: 'n' }), { ok: true, result: 3 })
  state.close()
})

test('the control store is bounded', () => {
  const state = new ControlState()
  for (let at = 0; at < 10_000; at++) assert.ok(state.execute({ command: 'set', key: `k${at}`, value: at }).ok)
  const result = state.execute({ command: 'set', key: 'one-more', value: 1 })
  assert.match(result.ok ? '' : result.error, /store is full/u)
})

test('a taken port is reported with the flag that helps', async (t) => {
  const url = new URL(await running(t, startTextService))
  await assert.rejects(
    startTextService({ port: Number(url.port) }),
    /port of the text service is already in use \(127\.0\.0\.1:\d+\)\. .*--text-port/u,
  )
})
