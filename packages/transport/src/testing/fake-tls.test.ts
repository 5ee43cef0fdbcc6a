import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type KeyPair, Level, NO_KEY, type TlsFailure, type TlsSession } from '../ports/crypto.ts'
import { createFakeCrypto, type FakeCrypto } from './fake-crypto.ts'
import { createFakeTls, type FakeTlsOptions } from './fake-tls.ts'
import { createSeededRandom } from './random.ts'

const clientParameters = Uint8Array.of(1, 2, 3)
const serverParameters = Uint8Array.of(4, 5, 6, 7)

interface Outcome {
  readonly failure: TlsFailure | undefined
  readonly steps: string[]
  readonly clientKeys: Map<Level, KeyPair>
  readonly serverKeys: Map<Level, KeyPair>
}

/** Runs two sessions against each other; `split` cuts every flight into pieces of that many bytes. */
function shake(client: TlsSession, server: TlsSession, split = 1_000_000): Outcome {
  const outcome: Outcome = { failure: undefined, steps: [], clientKeys: new Map(), serverKeys: new Map() }
  let failure: TlsFailure | undefined
  const pump = (from: TlsSession, to: TlsSession, name: string, keys: Map<Level, KeyPair>): boolean => {
    let moved = false
    for (let step = from.next(); step !== undefined; step = from.next()) {
      moved = true
      outcome.steps.push(`${name} ${step.kind} ${step.level}`)
      if (step.kind === 'keys') keys.set(step.level, step.keys)
      else {
        for (let at = 0; at < step.data.length; at += split) {
          failure ??= to.read(step.level, step.data.subarray(at, at + split))
        }
      }
    }
    return moved
  }
  for (;;) {
    const a = pump(client, server, 'client', outcome.clientKeys)
    const b = failure === undefined && pump(server, client, 'server', outcome.serverKeys)
    if (failure !== undefined || (!a && !b)) return { ...outcome, failure }
  }
}

function sides(options: Partial<FakeTlsOptions> = {}) {
  const clientCrypto = createFakeCrypto(1)
  const serverCrypto = createFakeCrypto(2)
  const clientContext = createFakeTls({ ...options, crypto: clientCrypto, seed: 3 }).client
  const serverContext = createFakeTls({ ...options, crypto: serverCrypto, seed: 4 }).server
  const client = (fields: { alpn?: string[]; earlyData?: boolean; version?: number } = {}): TlsSession =>
    clientContext.createSession({
      version: 1,
      serverName: 'example.test',
      alpn: ['other', 'test'],
      transportParameters: clientParameters,
      earlyData: false,
      ...fields,
    })
  const server = (): TlsSession => serverContext.createSession({ version: 1, transportParameters: serverParameters })
  return { clientCrypto, serverCrypto, client, server }
}

function assertSameKeys(from: FakeCrypto, tx: number, to: FakeCrypto, rx: number): void {
  const bytes = new Uint8Array(60)
  bytes[0] = 0x40
  from.seal(bytes, Int32Array.of(0, 2, 60, 0, 0, tx, 0, 1), 1)
  const words = Int32Array.of(0, 60, 1, rx, 0, to.createSpace(), 0, 0)
  to.open(bytes, words, 1)
  assert.equal(words[1], 42)
}

test('a full handshake has the flights of TLS 1.3 and both sides get the same keys', () => {
  for (const split of [1_000_000, 100, 1]) {
    const { client, server, clientCrypto, serverCrypto } = sides()
    const [c, s] = [client(), server()]
    const { failure, steps, clientKeys, serverKeys } = shake(c, s, split)
    assert.equal(failure, undefined)
    assert.deepEqual(steps, [
      'client crypto 0',
      'server crypto 0',
      'server keys 2',
      'server crypto 2',
      'server keys 3',
      'client keys 2',
      'client crypto 2',
      'client keys 3',
      'server crypto 3',
    ])
    for (const level of [Level.Handshake, Level.OneRtt]) {
      const [a, b] = [clientKeys.get(level) as KeyPair, serverKeys.get(level) as KeyPair]
      assertSameKeys(clientCrypto, a.tx, serverCrypto, b.rx)
      assertSameKeys(serverCrypto, b.tx, clientCrypto, a.rx)
    }
    assert.equal(c.isHandshaking(), false)
    assert.equal(s.isHandshaking(), false)
    assert.deepEqual([c.alpn(), s.alpn(), s.serverName()], ['test', 'test', 'example.test'])
    assert.deepEqual(c.peerTransportParameters(), serverParameters)
    assert.deepEqual(s.peerTransportParameters(), clientParameters)
    assert.deepEqual(
      c.exportKeyingMaterial('x', clientParameters, 20),
      s.exportKeyingMaterial('x', clientParameters, 20),
    )
    assert.equal(c.resumed(), false)
    assert.ok((c.peerCertificates()[0]?.length ?? 0) > 2000)
  }
})

test('flights have realistic sizes, and a large ClientHello fills two Initial packets', () => {
  const size = (options: Partial<FakeTlsOptions>): number => {
    const step = sides(options).client().next()
    return step?.kind === 'crypto' ? step.data.length : 0
  }
  assert.ok(size({}) > 150 && size({}) < 600, String(size({})))
  assert.ok(size({ clientHelloBytesMin: 1_800 }) >= 1_800)
})

test('no common ALPN protocol ends with alert 120', () => {
  const { client, server } = sides()
  const { failure } = shake(client({ alpn: ['h3'] }), server())
  assert.equal(failure?.alert, 120)
  assert.match(failure?.message ?? '', /offers ALPN \[h3\], this server speaks \[test\]/)
})

test('a second connection resumes, and sends 0-RTT that the server accepts', () => {
  const { client, server, clientCrypto, serverCrypto } = sides()
  shake(client(), server())
  const [c, s] = [client({ earlyData: true }), server()]
  assert.deepEqual(c.peerTransportParameters(), serverParameters, 'remembered before the handshake')
  const { failure, steps, clientKeys, serverKeys } = shake(c, s)
  assert.equal(failure, undefined)
  assert.deepEqual(steps.slice(0, 4), ['client crypto 0', 'client keys 1', 'server keys 1', 'server crypto 0'])
  const [a, b] = [clientKeys.get(Level.ZeroRtt) as KeyPair, serverKeys.get(Level.ZeroRtt) as KeyPair]
  assert.deepEqual([a.rx, b.tx], [NO_KEY, NO_KEY])
  assertSameKeys(clientCrypto, a.tx, serverCrypto, b.rx)
  assert.ok(c.resumed() && s.resumed() && c.earlyDataAccepted() && s.earlyDataAccepted())
})

test('a server may refuse 0-RTT and still resume', () => {
  const { client, server } = sides({ earlyData: 'reject' })
  shake(client(), server())
  const [c, s] = [client({ earlyData: true }), server()]
  const { failure, steps } = shake(c, s)
  assert.equal(failure, undefined)
  assert.ok(steps.includes('client keys 1') && !steps.includes('server keys 1'))
  assert.ok(c.resumed() && !c.earlyDataAccepted() && !s.earlyDataAccepted())
})

test('without tickets, or with tickets that forbid it, nothing is sent early', () => {
  for (const options of [{ tickets: 0 }, { earlyData: 'off' }] as const) {
    const { client, server } = sides(options)
    shake(client(), server())
    const c = client({ earlyData: true })
    const { failure, steps } = shake(c, server())
    assert.equal(failure, undefined)
    assert.ok(!steps.includes('client keys 1'))
    assert.equal(c.resumed(), !('tickets' in options))
  }
})

test('a ticket of another server is ignored and the handshake is a full one', () => {
  const first = sides()
  shake(first.client(), first.server())
  const stranger = createFakeTls({ crypto: createFakeCrypto(99), seed: 98 }).server
  const c = first.client({ earlyData: true })
  const { failure } = shake(c, stranger.createSession({ version: 1, transportParameters: serverParameters }))
  assert.equal(failure, undefined)
  assert.equal(c.resumed(), false)
})

test('damaged, misplaced and oversized messages end with the right alert', () => {
  const { client, server } = sides()
  const hello = client().next()
  assert.ok(hello?.kind === 'crypto')
  assert.equal(server().read(Level.Handshake, hello.data)?.alert, 10)
  assert.equal(server().read(Level.Initial, Uint8Array.of(20, 0, 0, 0))?.alert, 10)
  assert.equal(server().read(Level.Initial, Uint8Array.of(1, 0, 0, 1, 0))?.alert, 50)
  assert.equal(server().read(Level.Initial, Uint8Array.of(1, 255, 255, 255))?.alert, 50)

  const [c, s] = [client(), server()]
  const flight = c.next()
  assert.ok(flight?.kind === 'crypto')
  s.read(Level.Initial, flight.data)
  for (let step = s.next(); step !== undefined; step = s.next()) {
    if (step.kind !== 'crypto') continue
    const data = step.data.slice()
    if (step.level === Level.Handshake) data[data.length - 1] = (data[data.length - 1] as number) ^ 1
    const failure = c.read(step.level, data)
    if (step.level === Level.Handshake) assert.equal(failure?.alert, 51)
  }
  assert.equal(c.isHandshaking(), true)
})

test('keys follow the version that was settled, so sides that disagree cannot talk', () => {
  for (const agreed of [true, false]) {
    const { client, server, clientCrypto, serverCrypto } = sides()
    const [c, s] = [client(), server()]
    c.setVersion(0x6b3343cf)
    if (agreed) s.setVersion(0x6b3343cf)
    const { clientKeys, serverKeys } = shake(c, s)
    const check = (): void =>
      assertSameKeys(
        clientCrypto,
        (clientKeys.get(Level.OneRtt) as KeyPair).tx,
        serverCrypto,
        (serverKeys.get(Level.OneRtt) as KeyPair).rx,
      )
    if (agreed) check()
    else assert.throws(check)
  }
})

test('a seeded generator repeats itself, forks independently and stays in range', () => {
  const draw = (seed: number, label?: string): number[] => {
    const random = label === undefined ? createSeededRandom(seed) : createSeededRandom(seed).fork(label)
    return Array.from({ length: 8 }, () => random.uint32())
  }
  assert.deepEqual(draw(7), draw(7))
  assert.notDeepEqual(draw(7), draw(8))
  assert.notDeepEqual(draw(7, 'a'), draw(7, 'b'))
  const random = createSeededRandom(0)
  const seen = new Set(Array.from({ length: 500 }, () => random.between(-2, 2)))
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [-2, -1, 0, 1, 2],
  )
  assert.throws(() => random.pick([]), /at least one item/)
  assert.throws(() => createSeededRandom(0.5), /safe integer/)
})
