/** TLS sessions of the native crate, client against server, without any transport. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import type { KeyPair, TlsFailure, TlsSession } from '@quicether/transport'
import { Level, NO_KEY } from '@quicether/transport'
import { generateCertificate } from './certificates.ts'
import { createNativeCrypto } from './crypto.ts'
import type { ClientContextOptions, Identity, Pem, ServerContextOptions, Trust } from './tls.ts'
import { closeSessionStore, createClientContext, createServerContext, createSessionStore } from './tls.ts'

const crypto = createNativeCrypto()
const certificate = generateCertificate({ names: ['localhost', 'a.example', '127.0.0.1'] })
const identity = identityOf(certificate)
const ca = [pem(certificate.certificatePem, 'ca.pem')]
const clientParameters = Uint8Array.of(1, 2, 67, 21)
const serverParameters = Uint8Array.of(1, 2, 100, 22, 4, 1, 3)

function pem(text: string, label: string): Pem {
  return { pem: text, label }
}

function identityOf(made: { certificatePem: string; privateKeyPem: string }): Identity {
  return { certificate: pem(made.certificatePem, 'cert.pem'), privateKey: pem(made.privateKeyPem, 'key.pem') }
}

interface Outcome {
  readonly client: TlsSession
  readonly server: TlsSession
  readonly clientKeys: Map<Level, KeyPair>
  readonly serverKeys: Map<Level, KeyPair>
  /** Kinds and levels of steps in their order. */
  readonly clientSteps: string[]
  readonly serverSteps: string[]
  readonly failure: { side: 'client' | 'server'; failure: TlsFailure } | undefined
}

function setUp(client: Partial<ClientContextOptions> = {}, server: Partial<ServerContextOptions> = {}) {
  const clients = createClientContext({ trust: { kind: 'ca', ca }, ...client })
  const servers = createServerContext({ identities: [identity], alpn: ['h3', 'echo'], ...server })
  return { clients, servers }
}

function shake(
  contexts: ReturnType<typeof setUp>,
  options: { serverName?: string; alpn?: string[]; earlyData?: boolean; version?: number } = {},
): Outcome {
  const { serverName = 'localhost', alpn = ['echo'], earlyData = false, version = 1 } = options
  const transportParameters = clientParameters
  const client = contexts.clients.createSession({ version, serverName, alpn, transportParameters, earlyData })
  const server = contexts.servers.createSession({ version, transportParameters: serverParameters })
  const clientKeys = new Map<Level, KeyPair>()
  const serverKeys = new Map<Level, KeyPair>()
  const clientSteps: string[] = []
  const serverSteps: string[] = []
  let failure: Outcome['failure']
  const turn = (from: TlsSession, to: TlsSession, keys: Map<Level, KeyPair>, steps: string[]) => {
    let moved = false
    for (let step = from.next(); step !== undefined && failure === undefined; step = from.next()) {
      moved = true
      steps.push(`${step.kind} ${step.level}`)
      if (step.kind === 'keys') keys.set(step.level, step.keys)
      // In pieces of 100 bytes, as CRYPTO frames may come.
      else {
        for (let at = 0; at < step.data.length; at += 100) {
          const problem = to.read(step.level, step.data.subarray(at, at + 100))
          if (problem === undefined) continue
          failure = { side: to === client ? 'client' : 'server', failure: problem }
          break
        }
      }
    }
    return moved
  }
  for (let moved = true; moved; ) {
    moved = turn(client, server, clientKeys, clientSteps)
    moved = turn(server, client, serverKeys, serverSteps) || moved
  }
  return { client, server, clientKeys, serverKeys, clientSteps, serverSteps, failure }
}

function assertKeysMatch(a: KeyPair | undefined, b: KeyPair | undefined): void {
  assert.ok(a !== undefined && b !== undefined)
  for (const [tx, rx] of [
    [a.tx, b.rx],
    [b.tx, a.rx],
  ] as const) {
    const bytes = new Uint8Array(64)
    bytes.set([0x40, 1])
    crypto.seal(bytes, Int32Array.of(0, 2, 64, 1, 0, tx, 0, 1), 1)
    const words = Int32Array.of(0, 64, 1, rx, 0, crypto.createSpace(), 0, 0)
    crypto.open(bytes, words, 1)
    assert.equal(words[1], 46)
  }
}

// spec: RFC 9001 §8.2#1, RFC 9114 §3.2#1, §3.2#2
test('a handshake ends with the same keys, parameters and protocol on both sides', () => {
  const { client, server, clientKeys, serverKeys, clientSteps, serverSteps, failure } = shake(setUp())
  assert.equal(failure, undefined)
  assert.deepEqual([client.isHandshaking(), server.isHandshaking()], [false, false])
  assertKeysMatch(clientKeys.get(Level.Handshake), serverKeys.get(Level.Handshake))
  assertKeysMatch(clientKeys.get(Level.OneRtt), serverKeys.get(Level.OneRtt))
  assert.deepEqual(clientSteps, ['crypto 0', 'keys 2', 'crypto 2', 'keys 3'])
  assert.deepEqual(serverSteps, ['crypto 0', 'keys 2', 'crypto 2', 'keys 3', 'crypto 3'])
  assert.deepEqual([client.alpn(), server.alpn()], ['echo', 'echo'])
  assert.deepEqual([client.serverName(), server.serverName()], ['localhost', 'localhost'])
  assert.deepEqual(client.peerTransportParameters(), serverParameters)
  assert.deepEqual(server.peerTransportParameters(), clientParameters)
  assert.deepEqual([client.resumed(), client.earlyDataAccepted(), server.earlyDataAccepted()], [false, false, false])
  const [leaf] = client.peerCertificates()
  assert.ok(leaf !== undefined && new X509Certificate(leaf).subject === 'CN=localhost')
  const context = Uint8Array.of(7)
  const exported = client.exportKeyingMaterial('EXPORTER-test', context, 32)
  assert.deepEqual(server.exportKeyingMaterial('EXPORTER-test', context, 32), exported)
  assert.notDeepEqual(server.exportKeyingMaterial('EXPORTER-test', Uint8Array.of(8), 32), exported)
})

for (const suite of ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']) {
  test(`a handshake can be held to ${suite}, in both versions of QUIC`, () => {
    for (const version of [1, 0x6b3343cf]) {
      const { clientKeys, serverKeys, failure } = shake(setUp({ cipherSuites: [suite] }), { version })
      assert.equal(failure, undefined)
      assertKeysMatch(clientKeys.get(Level.OneRtt), serverKeys.get(Level.OneRtt))
      assert.equal(crypto.keyLimits(clientKeys.get(Level.OneRtt)?.tx ?? NO_KEY).cipherSuite, suite)
    }
  })
}

test('a second connection resumes; 0-RTT keys come after the ClientHello and before Handshake keys', () => {
  const contexts = setUp({}, { earlyData: true })
  assert.equal(shake(contexts, { earlyData: true }).clientKeys.has(Level.ZeroRtt), false)
  const second = shake(contexts, { earlyData: true })
  assert.deepEqual([second.client.resumed(), second.server.resumed()], [true, true])
  assert.deepEqual([second.client.earlyDataAccepted(), second.server.earlyDataAccepted()], [true, true])
  assert.deepEqual(second.clientSteps.slice(0, 3), ['crypto 0', 'keys 1', 'keys 2'])
  assert.deepEqual(second.serverSteps.slice(0, 3), ['keys 1', 'crypto 0', 'keys 2'])
  const [sent, taken] = [second.clientKeys.get(Level.ZeroRtt), second.serverKeys.get(Level.ZeroRtt)]
  assert.ok(sent !== undefined && taken !== undefined)
  assert.deepEqual([sent.rx, taken.tx], [NO_KEY, NO_KEY])
  const bytes = new Uint8Array(64).fill(0xd0, 0, 1)
  crypto.seal(bytes, Int32Array.of(0, 2, 64, 0, 0, sent.tx, 0, 1), 1)
  const words = Int32Array.of(0, 64, 1, taken.rx, 0, crypto.createSpace(), 0, 0)
  crypto.open(bytes, words, 1)
  assert.equal(words[1], 46)
})

test('a resuming client knows the remembered transport parameters before the handshake', () => {
  const contexts = setUp({}, { earlyData: true })
  shake(contexts)
  const session = contexts.clients.createSession({
    version: 1,
    serverName: 'localhost',
    alpn: ['echo'],
    transportParameters: clientParameters,
    earlyData: true,
  })
  assert.deepEqual(session.peerTransportParameters(), serverParameters)
})

test('0-RTT is rejected, not fatal, when the server turned it off or forgot the session', () => {
  const { clients, servers } = setUp({}, { earlyData: true })
  shake({ clients, servers })
  const forgetful = setUp({}, { earlyData: true }).servers
  const outcome = shake({ clients, servers: forgetful }, { earlyData: true })
  assert.equal(outcome.failure, undefined)
  assert.equal(outcome.clientKeys.has(Level.ZeroRtt), true)
  assert.deepEqual([outcome.client.earlyDataAccepted(), outcome.server.earlyDataAccepted()], [false, false])
  assert.equal(outcome.serverKeys.has(Level.ZeroRtt), false)
})

test('contexts with one store resume the sessions of each other, and a replayed 0-RTT opens at neither', () => {
  const sessionStore = createSessionStore(64)
  const server = { earlyData: true, sessionStore }
  const first = setUp({}, server)
  const other = { clients: first.clients, servers: setUp({}, server).servers }
  closeSessionStore(sessionStore)
  assert.throws(() => setUp({}, server), { code: 'ERR_CLOSED' })
  shake(first, { earlyData: true })
  const transportParameters = clientParameters
  const client = first.clients.createSession({
    version: 1,
    serverName: 'localhost',
    alpn: ['echo'],
    transportParameters,
    earlyData: true,
  })
  const hello = client.next()
  assert.ok(hello?.kind === 'crypto')
  const opens = [other, first, other].map(({ servers }) => {
    const session = servers.createSession({ version: 1, transportParameters: serverParameters })
    assert.equal(session.read(Level.Initial, hello.data), undefined)
    const step = session.next()
    return step?.kind === 'keys' && step.level === Level.ZeroRtt
  })
  assert.deepEqual(opens, [true, false, false])
})

test('without a session store nothing is resumed', () => {
  const contexts = setUp({}, { sessionsMax: 0, earlyData: true })
  shake(contexts)
  assert.equal(shake(contexts, { earlyData: true }).client.resumed(), false)
})

test('the certificate is chosen by server name, exact before wildcard, and the first one is the default', () => {
  const [exact, wild] = [
    generateCertificate({ names: ['x.b.example'] }),
    generateCertificate({ names: ['*.b.example'] }),
  ]
  const identities = [identity, identityOf(wild), identityOf(exact)]
  const contexts = setUp({ trust: { kind: 'insecure' } }, { identities })
  const subject = (serverName: string) => {
    const [leaf = new Uint8Array()] = shake(contexts, { serverName }).client.peerCertificates()
    return new X509Certificate(leaf).subject
  }
  assert.equal(subject('x.b.example'), 'CN=x.b.example')
  assert.equal(subject('X.B.Example'), 'CN=x.b.example')
  assert.equal(subject('y.b.example'), 'CN=*.b.example')
  assert.equal(subject('b.example'), 'CN=localhost')
  assert.equal(subject('192.0.2.7'), 'CN=localhost')
})

test('certificates can be replaced while the context lives', () => {
  const contexts = setUp({ trust: { kind: 'insecure' } })
  const fresh = generateCertificate({ names: ['fresh.example'] })
  const replacement = { certificate: pem(fresh.certificatePem, 'c'), privateKey: pem(fresh.privateKeyPem, 'k') }
  contexts.servers.replaceIdentities([replacement])
  const [leaf = new Uint8Array()] = shake(contexts).client.peerCertificates()
  assert.equal(new X509Certificate(leaf).subject, 'CN=fresh.example')
  const mismatched = { ...replacement, privateKey: pem(certificate.privateKeyPem, 'old-key.pem') }
  assert.throws(() => contexts.servers.replaceIdentities([mismatched]), { code: 'ERR_KEY_MISMATCH' })
})

const stranger = generateCertificate({ names: ['stranger.example', 'localhost'] })
const refusals: readonly [
  string,
  Partial<ClientContextOptions>,
  { serverName?: string; alpn?: string[] },
  number,
  RegExp,
][] = [
  ['an unknown authority', { trust: { kind: 'ca', ca: [pem(stranger.certificatePem, 's')] } }, {}, 48, /trust its CA/],
  ['another name', {}, { serverName: 'other.example' }, 42, /another name/],
  ['a wrong pin', { trust: { kind: 'pinned', sha256: [stranger.certificateSha256Hex] } }, {}, 49, /pinned/],
  ['no common protocol', {}, { alpn: ['nothing'] }, 120, /ALPN/],
]
for (const [what, client, options, alert, message] of refusals) {
  // spec: RFC 9001 §4.4#1, §8.1#5, RFC 9114 §3.1
  test(`${what} ends the handshake with alert ${alert} and a reason`, () => {
    const { failure } = shake(setUp(client), options)
    assert.equal(failure?.failure.alert, alert)
    assert.match(failure.failure.message, message)
  })
}

test('a server refuses to start with a certificate that has expired or is not valid yet', () => {
  const notBefore = new Date('2020-01-01')
  const old = generateCertificate({ names: ['localhost'], days: 10, notBefore })
  assert.throws(() => setUp({}, { identities: [identityOf(old)] }), {
    code: 'ERR_CERTIFICATE_EXPIRED',
    message: /cert\.pem.*2020-01-11.*renew/,
  })
  const future = generateCertificate({ names: ['localhost'], notBefore: new Date('2200-01-01') })
  assert.throws(() => setUp({}, { identities: [identityOf(future)] }), { code: 'ERR_CERTIFICATE_NOT_YET_VALID' })
})

for (const pin of [certificate.certificateSha256Hex, `sha256/${certificate.spkiSha256Base64}`]) {
  test(`a pinned server is accepted under any name (${pin.length} characters)`, () => {
    const contexts = setUp({ trust: { kind: 'pinned', sha256: [pin] } })
    assert.equal(shake(contexts, { serverName: 'whatever.example' }).failure, undefined)
  })
}

test('raw public keys identify both sides without certificates', () => {
  const [node, peer] = [
    generateCertificate({ names: ['n'], keyType: 'ed25519' }),
    generateCertificate({ names: ['p'] }),
  ]
  const raw = (made: { privateKeyPem: string }) => ({ privateKey: pem(made.privateKeyPem, 'node.key') })
  const trustKeys = (...keys: Uint8Array[]): Trust => ({ kind: 'rawKeys', keys })
  const client = { identity: raw(peer), trust: trustKeys(node.publicKey) }
  const server = { identities: [raw(node)], clientAuthentication: { required: true, trust: trustKeys(peer.publicKey) } }
  const good = shake(setUp(client, server))
  assert.equal(good.failure, undefined)
  assert.deepEqual(good.client.peerCertificates(), [node.publicKey])
  assert.deepEqual(good.server.peerCertificates(), [peer.publicKey])
  assert.equal(shake(setUp({ ...client, trust: { kind: 'anyRawKey' } }, server)).failure, undefined)

  const wrong = shake(setUp({ ...client, trust: trustKeys(peer.publicKey) }, server))
  assert.equal(wrong.failure?.side, 'client')
  const unknown = shake(setUp({ ...client, identity: raw(generateCertificate({ names: ['q'] })) }, server))
  assert.equal(unknown.failure?.side, 'server')
})

test('client certificates are checked when the server asks for them', () => {
  const authority = generateCertificate({ names: ['client.example'] })
  const trust: Trust = { kind: 'ca', ca: [pem(authority.certificatePem, 'clients.pem')] }
  const required = { clientAuthentication: { trust, required: true } }
  const known = shake(setUp({ identity: identityOf(authority) }, required))
  assert.equal(known.failure, undefined)
  assert.equal(known.server.peerCertificates().length, 1)
  const nameless = shake(setUp({}, required))
  assert.equal(nameless.failure?.failure.alert, 116)
  assert.match(nameless.failure.failure.message, /give it a certificate/)
  assert.equal(shake(setUp({ identity: identityOf(stranger) }, required)).failure?.side, 'server')
  assert.equal(shake(setUp({}, { clientAuthentication: { trust, required: false } })).failure, undefined)
})

test('both sides log the same secrets as NSS lines, early ones included', () => {
  const [clientLines, serverLines]: [string[], string[]] = [[], []]
  const contexts = setUp(
    { keyLog: (line) => clientLines.push(line) },
    { earlyData: true, keyLog: (line) => serverLines.push(line) },
  )
  shake(contexts)
  shake(contexts, { earlyData: true })
  assert.deepEqual([...clientLines].sort(), [...serverLines].sort())
  const labels = clientLines.map((line) => line.split(' ')[0])
  assert.equal(labels.filter((label) => label === 'CLIENT_TRAFFIC_SECRET_0').length, 2)
  assert.ok(labels.includes('CLIENT_EARLY_TRAFFIC_SECRET'))
  for (const line of clientLines) assert.match(line, /^[A-Z_0-9]+ [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})$/)
})

test('setVersion between reading and the next step moves later keys to that version on both sides', () => {
  const { clients, servers } = setUp()
  const transportParameters = clientParameters
  const client = clients.createSession({
    version: 1,
    serverName: 'localhost',
    alpn: ['h3'],
    transportParameters,
    earlyData: false,
  })
  const server = servers.createSession({ version: 1, transportParameters: serverParameters })
  const hello = client.next()
  assert.ok(hello?.kind === 'crypto')
  assert.equal(server.read(Level.Initial, hello.data), undefined)
  server.setVersion(0x6b3343cf)
  client.setVersion(0x6b3343cf)
  const keys: KeyPair[] = []
  for (let step = server.next(); step !== undefined && keys.length === 0; step = server.next()) {
    if (step.kind === 'keys') keys.push(step.keys)
    else assert.equal(client.read(step.level, step.data), undefined)
  }
  const step = client.next()
  assert.ok(step?.kind === 'keys')
  assertKeysMatch(step.keys, keys[0])
})

test('garbage in place of a ClientHello is a failure with an alert, never an exception', () => {
  const { servers } = setUp()
  for (const garbage of [Uint8Array.of(1, 0, 0, 2, 3, 3), new Uint8Array(300).fill(0xff), Uint8Array.of(20, 0, 0, 0)]) {
    const session = servers.createSession({ version: 1, transportParameters: serverParameters })
    const failure = session.read(Level.Initial, garbage)
    assert.ok(failure !== undefined && failure.alert > 0 && failure.message.length > 0)
    session.close()
    session.close()
  }
})

// spec: RFC 9001 §4.1.3#2
test('Initial bytes after the handshake has moved on are an unexpected message', () => {
  const { client } = shake(setUp())
  assert.equal(client.read(Level.Initial, Uint8Array.of(1))?.alert, 10)
})

const badIdentities: readonly [string, Identity, string, RegExp][] = [
  [
    'no certificate',
    { certificate: pem('hello', 'cert.pem'), privateKey: pem('', 'key.pem') },
    'ERR_CERTIFICATE',
    /cert\.pem/,
  ],
  ['no key', { ...identity, privateKey: pem('hello', 'key.pem') }, 'ERR_PRIVATE_KEY', /key\.pem.*PEM/],
  [
    'a foreign key',
    { ...identity, privateKey: pem(stranger.privateKeyPem, 'key.pem') },
    'ERR_KEY_MISMATCH',
    /key\.pem.*cert\.pem/,
  ],
]
for (const [what, bad, code, message] of badIdentities) {
  test(`an identity with ${what} is refused by naming the file`, () => {
    assert.throws(() => setUp({}, { identities: [bad] }), { code, message })
  })
}

test('other configuration mistakes are refused by name', () => {
  assert.throws(() => setUp({ trust: { kind: 'ca', ca: [] } }), { code: 'ERR_CA', message: /insecure/ })
  assert.throws(() => setUp({ trust: { kind: 'ca', ca: [pem('x', 'ca.pem')] } }), { message: /ca\.pem/ })
  assert.throws(() => setUp({ trust: { kind: 'pinned', sha256: ['abc'] } }), { code: 'ERR_PIN' })
  assert.throws(() => setUp({}, { identities: [] }), { code: 'ERR_IDENTITY' })
  assert.throws(() => setUp({ cipherSuites: ['TLS_RSA'] }), { code: 'ERR_CIPHER_SUITE' })
  assert.throws(() => shake(setUp(), { serverName: 'not a name' }), { code: 'ERR_SERVER_NAME' })
  assert.throws(() => generateCertificate({ names: [] }), { code: 'ERR_CERTIFICATE' })
  const { clients, servers } = setUp()
  clients.close()
  servers.close()
  assert.throws(() => shake({ clients, servers }), { code: 'ERR_CLOSED' })
})
