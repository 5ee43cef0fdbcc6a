/** Several worker threads on one port: who gets what, changing addresses, failures, replacement, bad input. */
import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { ClientContext } from '../client-context.ts'
import { type ConnectOptions, connect } from '../connect.ts'
import type { QuicConnection } from '../connection.ts'
import { generateCertificate } from '../index.ts'
import type { EchoAnswer, EchoData } from '../testing/echo-worker.ts'
import { serveWorkers, type WorkerFailure, type WorkerGroup, type WorkerGroupOptions } from './worker-group.ts'

const made = generateCertificate({ names: ['localhost', '127.0.0.1'] })
const certificate = { pem: made.certificatePem, label: 'cert.pem' }
const identity = { certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }
const module = new URL('../testing/echo-worker.ts', import.meta.url)
/** Generous, for a machine that is busy with other things. */
const patienceMs = 60_000
const config = { maxPaths: 4, idleTimeoutUs: patienceMs * 1000 }

async function group(
  t: TestContext,
  options: Partial<WorkerGroupOptions> = {},
  data: Partial<EchoData> = {},
): Promise<WorkerGroup> {
  const label = 'first'
  const workers = await serveWorkers({
    module,
    workers: 2,
    addresses: ['127.0.0.1'],
    port: 0,
    data: { identity, label, ...data },
    ...options,
  })
  t.after(() => workers.close())
  return workers
}

function dial(t: TestContext, port: number, options: Partial<ConnectOptions> = {}): Promise<QuicConnection> {
  const trust = options.context === undefined ? { ca: [certificate] } : {}
  const dialed = connect({
    host: '127.0.0.1',
    port,
    alpn: ['echo'],
    handshakeTimeoutMs: patienceMs,
    config,
    ...trust,
    ...options,
  })
  t.after(() => dialed.then((connection) => connection.close()).catch(() => {}))
  return dialed
}

/** Sends a text on a stream of its own and resolves with the answer. */
function ask(connection: QuicConnection, text: string): Promise<EchoAnswer> {
  const { transport } = connection
  const { promise, resolve, reject } = Promise.withResolvers<EchoAnswer>()
  const id = transport.openStream('bidirectional')
  assert.ok(id !== undefined)
  let answer = ''
  connection.onEvent = (event) => {
    if (event.kind === 'closed') reject(new Error(`closed: ${JSON.stringify(event.reason)}`))
    if (event.kind !== 'readable' || event.id !== id) return
    const status = transport.read(id, (chunk) => {
      answer += new TextDecoder().decode(chunk)
    })
    if (status === 'finished') resolve(JSON.parse(answer) as EchoAnswer)
  }
  transport.write(id, new TextEncoder().encode(text))
  transport.finish(id)
  return promise
}

/** New connections until every worker has one. Which worker gets one is chance. */
async function oneForEach(t: TestContext, workers: WorkerGroup): Promise<QuicConnection[]> {
  const found: (QuicConnection | undefined)[] = new Array(workers.workers).fill(undefined)
  for (let attempt = 0; attempt < 200 && found.includes(undefined); attempt++) {
    const connection = await dial(t, workers.port)
    const { index } = await ask(connection, 'who')
    if (found[index] === undefined) found[index] = connection
    else await connection.close()
  }
  return found.map((connection) => connection ?? assert.fail('a worker gets no connection'))
}

/** A NAT between clients and a server that gives a new port whenever it is told to. */
class Nat {
  readonly #front: Socket = createSocket('udp4')
  readonly #serverPort: number
  #backs: Socket[] = []
  #clientPort = 0

  constructor(t: TestContext, serverPort: number) {
    this.#serverPort = serverPort
    this.#front.on('message', (datagram, { port }) => {
      this.#clientPort = port
      this.#backs.at(-1)?.send(datagram, this.#serverPort, '127.0.0.1')
    })
    t.after(() => {
      for (const socket of [this.#front, ...this.#backs]) socket.close()
    })
  }

  async start(): Promise<number> {
    this.#front.bind(0, '127.0.0.1')
    await once(this.#front, 'listening')
    await this.rebind()
    return this.#front.address().port
  }

  async rebind(): Promise<void> {
    const back = createSocket('udp4')
    back.on('message', (datagram) => this.#front.send(datagram, this.#clientPort, '127.0.0.1'))
    back.bind(0, '127.0.0.1')
    await once(back, 'listening')
    this.#backs.push(back)
  }
}

async function countersOf(workers: WorkerGroup) {
  const { workers: each } = await workers.stats()
  return each.map((stats) => stats ?? assert.fail('a worker does not answer'))
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)

for (const steering of ['connection-id', 'addresses'] as const) {
  test(`a client whose port changes again and again stays with its worker, by ${steering}`, async (t) => {
    const workers = await group(t, { steering })
    assert.equal(workers.isSteered, steering === 'connection-id' && process.platform === 'linux')
    const nat = new Nat(t, workers.port)
    const connection = await dial(t, await nat.start())
    const { index } = await ask(connection, 'who')
    for (let i = 0; i < 30; i++) {
      await nat.rebind()
      assert.deepEqual(await ask(connection, `${i}`), { index, generation: 0, label: 'first', text: `${i}` })
    }
    const counters = await countersOf(workers)
    const [owner] = counters.splice(index, 1)
    assert.ok(owner !== undefined)
    assert.equal(owner.accepted, 1)
    assert.deepEqual(
      counters.map(({ accepted, resets, adopted, forwardsDropped }) => [accepted, resets, adopted, forwardsDropped]),
      [[0, 0, 0, 0]],
    )
    const strayed = sum(counters.map(({ datagramsReceived }) => datagramsReceived))
    if (workers.isSteered) assert.equal(strayed, 0, 'the kernel has found the worker each time')
    else assert.ok(strayed > 0, 'thirty ports belong to several workers')
    assert.equal(sum(counters.map(({ forwarded }) => forwarded)), strayed)
    assert.equal(owner.adopted, strayed)
    assert.equal(owner.forwarded, 0)
  })
}

test('all paths of a connection meet at one worker, whatever their addresses', async (t) => {
  const workers = await group(t, { addresses: ['127.0.0.1', '127.0.0.2'] })
  assert.deepEqual(
    workers.addresses.map(({ address }) => address),
    ['127.0.0.1', '127.0.0.2'],
  )
  const connection = await dial(t, workers.port)
  const { index } = await ask(connection, 'who')
  for (const remoteAddress of ['127.0.0.1', '127.0.0.2'])
    await connection.openPath({ localAddress: '127.0.0.3', remoteAddress, timeoutMs: patienceMs })
  for (let i = 0; i < 10; i++) assert.equal((await ask(connection, `${i}`)).index, index)
  assert.equal(connection.paths().filter(({ isValidated }) => isValidated).length, 3)
  const counters = await countersOf(workers)
  assert.deepEqual(
    counters.map(({ accepted }, each) => (each === index ? accepted - 1 : accepted)),
    [0, 0],
  )
})

test('sessions, 0-RTT and address tokens of one worker are good at all of them', async (t) => {
  const workers = await group(t, {}, { retry: 'always' })
  const context = new ClientContext({ trust: { kind: 'ca', ca: [certificate] } })
  t.after(() => context.close())
  const seen = new Set<number>()
  const retriesOf = async (): Promise<number> => sum((await countersOf(workers)).map(({ retries }) => retries))
  let retries = 0
  for (let attempt = 0; attempt < 200 && seen.size < workers.workers; attempt++) {
    const connection = await dial(t, workers.port, { context, earlyData: true })
    seen.add((await ask(connection, 'who')).index)
    const { resumed, earlyData } = await connection.connected
    assert.deepEqual([resumed, earlyData], attempt === 0 ? [false, 'none'] : [true, 'accepted'])
    // A round trip after the handshake: ticket and token for the next connection are here.
    await ask(connection, 'more')
    await connection.close()
    // On a slow machine the very first packet, sent twice, gets two.
    if (attempt === 0) retries = await retriesOf()
  }
  assert.equal(seen.size, workers.workers)
  assert.ok(retries > 0)
  assert.equal(await retriesOf(), retries, 'only the first connection had no token')
})

test('a worker that fails is started again, its clients learn of it, and the others notice nothing', async (t) => {
  const failures: WorkerFailure[] = []
  const workers = await group(t, { workers: 3, onWorkerFailed: (failure) => void failures.push(failure) })
  const connections = await oneForEach(t, workers)
  const victim = connections[1] as QuicConnection
  ask(victim, 'fail').catch(() => {})
  // The probes of the client reach the new worker, which does not know the connection and says so.
  const reason = await victim.closed
  assert.equal(reason.kind, 'reset')
  assert.deepEqual(
    failures.map(({ index, problem, restartMs }) => [index, problem.message, restartMs]),
    [[1, 'worker 1 was asked to fail', 100]],
  )
  for (const index of [0, 2]) {
    const answer = await ask(connections[index] as QuicConnection, 'still there?')
    assert.deepEqual([answer.index, answer.generation], [index, 0])
  }
  const again = await oneForEach(t, workers)
  assert.deepEqual(
    [(await ask(again[1] as QuicConnection, 'who')).generation, (await workers.stats()).restarts],
    [1, 1],
  )
})

test('a reload replaces all workers; old connections go on at the old ones, new ones begin at the new', async (t) => {
  const workers = await group(t)
  const old = await oneForEach(t, workers)
  const nat = new Nat(t, workers.port)
  const moving = await dial(t, await nat.start())
  await workers.reload({ data: { identity, label: 'second' }, graceMs: patienceMs })
  const fresh = await oneForEach(t, workers)
  for (const [index, connection] of fresh.entries()) {
    assert.deepEqual(await ask(connection, 'new'), { index, generation: 1, label: 'second', text: 'new' })
  }
  for (const [index, connection] of old.entries()) {
    for (const text of ['a', 'b', 'c'])
      assert.deepEqual(await ask(connection, text), { index, generation: 0, label: 'first', text })
  }
  await nat.rebind()
  assert.equal((await ask(moving, 'moved')).label, 'first')
  assert.equal((await workers.stats()).draining, 2)
  for (const connection of [...old, moving]) await connection.close()
  while ((await workers.stats()).draining > 0) await new Promise((resolve) => setTimeout(resolve, 20))
  const counters = await countersOf(workers)
  assert.deepEqual(
    counters.map(({ resets, forwardsDropped }) => [resets, forwardsDropped]),
    [
      [0, 0],
      [0, 0],
    ],
  )
  assert.ok(
    counters.every(({ forwarded }) => forwarded > 0),
    'what came for old connections was handed on',
  )
})

test('a reload that fails leaves the workers as they are, and one that is broken later can be put right', async (t) => {
  const workers = await group(t)
  const old = await dial(t, workers.port)
  const broken = { identity, label: 'second', isBroken: true }
  await assert.rejects(workers.reload({ data: broken }), /the module of second is broken/)
  assert.equal((await ask(old, 'on')).label, 'first')
  assert.equal((await ask(await dial(t, workers.port), 'on')).label, 'first')
  await workers.reload()
  assert.deepEqual((await ask(await dial(t, workers.port), 'on')).label, 'first')
})

test('workers and their group tell each other things', async (t) => {
  const told: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const workers = await group(t, {
    onTold: (index, value) => {
      told.push(`${index} ${value}`)
      if (told.length === 2) resolve()
    },
  })
  workers.tell('hello')
  await promise
  assert.deepEqual(told.sort(), ['0 hello', '1 hello'])
})

test('closing refuses new connections and lets running ones end', async (t) => {
  const workers = await group(t)
  const connections = await oneForEach(t, workers)
  const closing = workers.close({ graceMs: patienceMs })
  assert.equal((await ask(connections[0] as QuicConnection, 'last words')).text, 'last words')
  // The word to close is on its way to the threads: some connections may still get in.
  const refused = async (): Promise<void> => {
    for (;;) await (await dial(t, workers.port)).close()
  }
  await assert.rejects(refused(), { code: 'ERR_CONNECTION_REFUSED' })
  for (const connection of connections) await connection.close()
  await closing
})

test('what cannot work is refused with a reason', async (t) => {
  const workers = await group(t, { workers: 1 })
  const options = { module, addresses: ['127.0.0.1'], port: 0, workers: 1, data: { identity, label: 'x' } }
  for (const count of [0, 65, 1.5, Number.NaN])
    await assert.rejects(serveWorkers({ ...options, workers: count }), { code: 'ERR_WORKERS' })
  await assert.rejects(serveWorkers({ ...options, port: workers.port }), { code: 'ERR_PORT_IN_USE' })
  await assert.rejects(serveWorkers({ ...options, addresses: ['192.0.2.1'] }), { code: 'ERR_ADDRESS' })
  await assert.rejects(serveWorkers({ ...options, addresses: [] }), { code: 'ERR_ADDRESS' })
  const data = { identity, label: 'x', isBroken: true }
  await assert.rejects(serveWorkers({ ...options, data }), /the module of x is broken/)
  const announcing = { identity, label: 'x', announce: '127.0.0.9' }
  await assert.rejects(serveWorkers({ ...options, data: announcing }), /add it to the addresses of their group/)
  const noModule = new URL('./half-sip-hash.ts', import.meta.url)
  await assert.rejects(serveWorkers({ ...options, module: noModule }), /exports no function 'serve'/)
})
