/** Tests of pools in time that is played by hand: which address gets a request, and what failures lead to. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig } from '../config/load.ts'
import { ManualClock } from '../testing/manual-clock.ts'
import { answer, type Behaviour, failure, ScriptedUpstream, untilAborted } from '../testing/scripted-upstream.ts'
import type { UpstreamResponse } from './client.ts'
import { UpstreamFailure } from './failure.ts'
import { type PoolRequest, UpstreamPool } from './pool.ts'

interface Fixture {
  readonly clock: ManualClock
  readonly pool: UpstreamPool
  readonly upstreams: Readonly<Record<string, ScriptedUpstream>>
  readonly changes: string[]
  /** Status of a whole exchange, or the kind of its failure. */
  ask(change?: Partial<PoolRequest>): Promise<number | string>
  send(change?: Partial<PoolRequest>): Promise<UpstreamResponse>
}

/** A pool of the given addresses (`a` is http://a); `extra` is TOML of the service. */
function fixture(
  behaviours: Readonly<Record<string, Behaviour>>,
  extra = '',
  weights: Record<string, number> = {},
): Fixture {
  const list = Object.keys(behaviours).map((name) => `{ url = "http://${name}", weight = ${weights[name] ?? 1} }`)
  const source = `[[service]]\nname = "s"\nprefix = "/"\nupstreams = [${list.join(', ')}]\n${extra}\n`
  const [config] = parseConfig(source, 'test.toml').service
  assert.ok(config)
  const clock = new ManualClock()
  const upstreams: Record<string, ScriptedUpstream> = {}
  for (const [name, behaviour] of Object.entries(behaviours)) upstreams[name] = new ScriptedUpstream(behaviour)
  const changes: string[] = []
  const pool = new UpstreamPool(config, {
    clock,
    createClient: (_config, url) => upstreams[new URL(url).hostname] ?? assert.fail(url),
    onTargetChange: (_service, { url, isHealthy, isEjected }) => {
      changes.push(`${new URL(url).hostname} ${isHealthy && !isEjected ? 'back' : 'out'}`)
    },
    random: () => 0.5,
  })
  const send: Fixture['send'] = (change = {}) =>
    pool.exchange({
      method: 'GET',
      authority: 'h',
      target: '/',
      headers: [],
      body: null,
      signal: new AbortController().signal,
      hashKey: '',
      onRequestEnded: () => {},
      ...change,
    })
  const ask: Fixture['ask'] = async (change) => {
    try {
      const response = await send(change)
      for await (const _ of response.body);
      return response.status
    } catch (error) {
      return error instanceof UpstreamFailure ? error.kind : `thrown: ${String(error)}`
    }
  }
  return { clock, pool, upstreams, changes, ask, send }
}

function counts({ upstreams }: Fixture): Record<string, number> {
  return Object.fromEntries(Object.entries(upstreams).map(([name, { seen }]) => [name, seen.length]))
}

async function* bytes(...pieces: string[]): AsyncIterable<Uint8Array> {
  for (const piece of pieces) yield Buffer.from(piece)
}

test('round-robin gives every address its weight, evenly spread', async () => {
  const f = fixture({ a: 200, b: 200 }, '', { a: 3, b: 1 })
  const order: string[] = []
  for (let at = 0; at < 8; at++) {
    const before = counts(f)
    await f.ask()
    order.push(counts(f)['a'] === before['a'] ? 'b' : 'a')
  }
  assert.equal(order.join(''), 'aabaaaba')
})

test('least-connections goes where least is running', async () => {
  const f = fixture({ a: 'silent', b: 200 }, 'balance = "least-connections"')
  const abort = new AbortController()
  const running = f.ask({ signal: abort.signal })
  for (let at = 0; at < 5; at++) await f.ask()
  assert.deepEqual(counts(f), { a: 1, b: 5 })
  abort.abort()
  await running
})

test('hashing keeps a key at its address, and an address that leaves takes only its own keys along', async () => {
  const f = fixture({ a: 200, b: 200, c: 200, d: 200 }, 'balance = "hash"\n[service.outlier]\nfailures = 1')
  const placed = new Map<string, string>()
  const place = async (key: string): Promise<string> => {
    const before = counts(f)
    await f.ask({ hashKey: key })
    const after = counts(f)
    return Object.keys(after).find((name) => after[name] !== before[name]) ?? assert.fail()
  }
  for (let at = 0; at < 200; at++) placed.set(`key ${at}`, await place(`key ${at}`))
  for (const [key, name] of placed) assert.equal(await place(key), name)
  const shares = Map.groupBy(placed.values(), (name) => name)
  for (const [name, share] of shares) assert.ok(share.length > 20 && share.length < 90, `${name} has ${share.length}`)
  const gone = f.upstreams['b']
  assert.ok(gone)
  gone.behaviour = 503
  await f.ask({ hashKey: [...placed].find(([, name]) => name === 'b')?.[0] ?? '' })
  for (const [key, name] of placed) {
    if (name === 'b') assert.notEqual(await place(key), 'b')
    else assert.equal(await place(key), name)
  }
})

test('a request that could not be sent goes to another address, whatever its method', async () => {
  const f = fixture({ a: failure('ECONNREFUSED'), b: 200 })
  assert.equal(await f.ask({ method: 'POST', body: bytes('x') }), 200)
  assert.deepEqual(counts(f), { a: 1, b: 1 })
  assert.equal(f.pool.stats().retries, 1)
})

test('with one address a refused connection is told at once', async () => {
  const f = fixture({ a: failure('ECONNREFUSED') })
  assert.equal(await f.ask(), 'upstream-refused')
  assert.deepEqual(counts(f), { a: 1 })
})

test('a safe request is repeated when its connection closed, an unsafe one is not', async () => {
  const f = fixture({ a: failure('ECONNRESET') })
  assert.equal(await f.ask(), 'upstream-closed')
  assert.deepEqual(counts(f), { a: 2 })
  assert.equal(await f.ask({ method: 'POST' }), 'upstream-closed')
  assert.deepEqual(counts(f), { a: 3 })
})

test('a body that was begun is never sent again', async () => {
  const reading: Behaviour = async (request) => {
    for await (const _ of request.body ?? []) break
    throw failure('REFUSED_STREAM')
  }
  const f = fixture({ a: reading, b: 200 })
  assert.equal(await f.ask({ method: 'PUT', body: bytes('x', 'y') }), 'upstream-closed')
  assert.deepEqual(counts(f), { a: 1, b: 0 })
})

test('a service that timed out is not asked again', async () => {
  const f = fixture({ a: 'silent', b: 200 }, 'response_timeout_ms = 100')
  const asked = f.ask()
  await f.clock.advance(0)
  await f.clock.advance(100)
  assert.equal(await asked, 'upstream-timeout')
  assert.deepEqual(counts(f), { a: 1, b: 0 })
})

test('statuses that are named are repeated elsewhere, for safe requests only', async () => {
  const f = fixture({ a: 503, b: 200 }, '[service.retry]\nstatuses = [503]')
  assert.equal(await f.ask(), 200)
  assert.deepEqual(counts(f), { a: 1, b: 1 })
  const posts = [await f.ask({ method: 'POST' }), await f.ask({ method: 'POST' })]
  assert.deepEqual(posts.sort(), [200, 503])
})

test('repetitions stay within their budget', async () => {
  const f = fixture({ a: failure('ECONNRESET') }, '[service.retry]\nbudget_min = 3\nbudget_percent = 10')
  for (let at = 0; at < 50; at++) await f.ask()
  assert.equal(f.upstreams['a']?.seen.length, 50 + 5)
  await f.clock.advance(20_000)
  await f.ask()
  assert.equal(f.upstreams['a']?.seen.length, 50 + 5 + 2)
})

test('an address that fails is out for a while, longer each time, and the last half stays in', async () => {
  const f = fixture({ a: 502, b: 200 }, '[service.outlier]\nfailures = 2\nejection_ms = 1000')
  for (let at = 0; at < 4; at++) await f.ask()
  assert.deepEqual(f.changes, ['a out'])
  const before = counts(f)['a']
  for (let at = 0; at < 6; at++) assert.equal(await f.ask(), 200)
  assert.equal(counts(f)['a'], before)
  await f.clock.advance(1_000)
  for (let at = 0; at < 4; at++) await f.ask()
  assert.deepEqual(f.changes, ['a out', 'a out'])
  await f.clock.advance(1_500)
  assert.equal(f.pool.stats().targets[0]?.isEjected, true)
  await f.clock.advance(500)
  assert.equal(f.pool.stats().targets[0]?.isEjected, false)
  const { b } = f.upstreams
  assert.ok(b)
  b.behaviour = 502
  for (let at = 0; at < 20; at++) await f.ask()
  assert.equal(f.pool.stats().targets.filter(({ isEjected }) => isEjected).length, 1)
})

test('checks take an address out and bring it back, and without any the client is told', async () => {
  const f = fixture(
    { a: 200, b: 200 },
    '[service.health]\npath = "/healthz"\ninterval_ms = 1000\ntimeout_ms = 100\nunhealthy_after = 2\nhealthy_after = 2',
  )
  const { a, b } = f.upstreams
  assert.ok(a && b)
  f.pool.start()
  await f.clock.advance(0)
  assert.equal(a.seen[0]?.target, '/healthz')
  a.behaviour = 500
  await f.clock.advance(1_000)
  assert.deepEqual(f.changes, [])
  await f.clock.advance(1_000)
  assert.deepEqual(f.changes, ['a out'])
  const before = a.seen.length
  for (let at = 0; at < 4; at++) assert.equal(await f.ask(), 200)
  assert.equal(a.seen.length, before)
  b.behaviour = 'silent'
  await f.clock.advance(2_300)
  assert.deepEqual(f.changes, ['a out', 'b out'])
  assert.equal(await f.ask(), 'no-healthy-upstream')
  a.behaviour = 204
  await f.clock.advance(2_000)
  assert.deepEqual(f.changes, ['a out', 'b out', 'a back'])
  assert.equal(await f.ask(), 204)
  await f.pool.close()
  assert.equal(f.clock.pending, 0)
})

test('a service that fails too often is left alone, then tried with one request, then back', async () => {
  const f = fixture(
    { a: 503 },
    '[service.breaker]\nfailure_percent = 50\nmin_requests = 4\nwindow_ms = 1000\nopen_ms = 500',
  )
  const { a } = f.upstreams
  assert.ok(a)
  for (let at = 0; at < 4; at++) assert.equal(await f.ask(), 503)
  assert.equal(await f.ask(), 'circuit-open')
  assert.equal(f.pool.stats().breaker, 'open')
  await f.clock.advance(500)
  assert.equal(await f.ask(), 503)
  assert.equal(await f.ask(), 'circuit-open')
  await f.clock.advance(500)
  a.behaviour = (request) => untilAborted(request.signal)
  const abort = new AbortController()
  const trial = f.ask({ signal: abort.signal })
  assert.equal(await f.ask(), 'circuit-open')
  abort.abort()
  await trial
  a.behaviour = 200
  assert.equal(await f.ask(), 200)
  assert.equal(f.pool.stats().breaker, 'closed')
  assert.equal(await f.ask(), 200)
})

test('a service gets no more requests at once than it may have', async () => {
  const f = fixture({ a: 'silent' }, 'max_requests = 2')
  const abort = new AbortController()
  const running = [f.ask({ signal: abort.signal }), f.ask({ signal: abort.signal })]
  assert.equal(await f.ask(), 'overloaded')
  abort.abort()
  await Promise.all(running)
  const { a } = f.upstreams
  assert.ok(a)
  a.behaviour = 200
  assert.equal(await f.ask(), 200)
})

test('time that the client takes is not held against the service', async () => {
  const f = fixture({ a: 'silent' }, 'response_timeout_ms = 100')
  const gate = Promise.withResolvers<void>()
  async function* slowBody(): AsyncIterable<Uint8Array> {
    await gate.promise
    yield Buffer.from('x')
  }
  const { a } = f.upstreams
  assert.ok(a)
  a.behaviour = async (request) => {
    for await (const _ of request.body ?? []);
    return await untilAborted(request.signal)
  }
  const asked = f.ask({ method: 'POST', body: slowBody() })
  await f.clock.advance(5_000)
  gate.resolve()
  await f.clock.advance(0)
  await f.clock.advance(99)
  assert.equal(f.pool.stats().targets[0]?.active, 1)
  await f.clock.advance(2)
  assert.equal(await asked, 'upstream-timeout')
  assert.equal(f.pool.stats().targets[0]?.active, 0)
})

test('a response that stops in the middle fails after its own silence, and a whole exchange after the total', async () => {
  async function* stuck(signal: AbortSignal): AsyncIterable<Uint8Array> {
    yield Buffer.from('x')
    await untilAborted(signal)
  }
  const behaviour: Behaviour = async (request) => answer(200, stuck(request.signal))
  const slow = fixture({ a: behaviour }, 'body_timeout_ms = 50')
  const first = slow.ask()
  await slow.clock.advance(0)
  await slow.clock.advance(60)
  assert.equal(await first, 'upstream-body-timeout')
  const long = fixture({ a: behaviour }, 'body_timeout_ms = 5000\ntotal_timeout_ms = 300')
  const second = long.ask()
  await long.clock.advance(0)
  await long.clock.advance(300)
  assert.equal(await second, 'upstream-total-timeout')
  assert.equal(long.clock.pending, 0)
})

test('a tunnel lives as long as something comes through it in either direction', async () => {
  const gates: PromiseWithResolvers<void>[] = []
  async function* fromService(signal: AbortSignal): AsyncIterable<Uint8Array> {
    yield Buffer.from('x')
    await untilAborted(signal)
  }
  async function* fromClient(): AsyncIterable<Uint8Array> {
    while (true) {
      const gate = Promise.withResolvers<void>()
      gates.push(gate)
      await gate.promise
      yield Buffer.from('x')
    }
  }
  const behaviour: Behaviour = async (request) => {
    void (async () => {
      for await (const _ of request.body ?? []);
    })()
    return answer(200, fromService(request.signal))
  }
  const f = fixture({ a: behaviour }, 'tunnel_timeout_ms = 100\nbody_timeout_ms = 10\nresponse_timeout_ms = 10')
  const asked = f.ask({ method: 'CONNECT', protocol: 'websocket', body: fromClient() })
  await f.clock.advance(0)
  for (let at = 0; at < 5; at++) {
    await f.clock.advance(80)
    gates.at(-1)?.resolve()
    await f.clock.advance(0)
  }
  assert.equal(f.pool.stats().targets[0]?.active, 1)
  await f.clock.advance(150)
  assert.equal(await asked, 'tunnel-idle')
})
