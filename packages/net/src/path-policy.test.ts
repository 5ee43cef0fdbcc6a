/** The path policy against a connection made of paper: what it opens, when, how often, and what it never does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PathId, type PathView, QuicError } from '@quicether/transport'
import type { OpenPathOptions } from './client-paths.ts'
import type { LocalAddress } from './interface-watch.ts'
import { isChosen, type ServerEnd } from './path-candidates.ts'
import { PathPolicy, type PathPolicyHost } from './path-policy.ts'
import { type PathPolicyOptions, resolvePathPolicy } from './path-policy-options.ts'
import { ProbeBudget } from './probe-budget.ts'
import { ManualClock } from './testing/manual-clock.ts'

const on = (interfaceName: string, address: string, isInternal = false): LocalAddress => ({
  interfaceName,
  address,
  isInternal,
})
const lo = on('lo', '127.0.0.1', true)
const wifi = on('wlan0', '192.0.2.1')
const lte = on('wwan0', '198.51.100.1')
const cable = on('eth0', '192.0.2.50')
const server: ServerEnd = { address: '203.0.113.1', port: 443 }

interface PaperPath {
  readonly id: PathId
  readonly localAddress: string
  readonly remoteAddress: string
  readonly remotePort: number
  state: PathView['state']
  isBackup: boolean
}

/** A connection whose paths exist on paper. The first one leads from `wifi` to `server`. */
class PaperHost implements PathPolicyHost {
  isClosed = false
  pathLimit = 8
  server: ServerEnd = server
  announced: ServerEnd[] = []
  all: PaperPath[] = [path(0, wifi.address, server)]
  /** Attempts, with the time of each. */
  readonly attempts: {
    readonly atMs: number
    readonly local: string
    readonly remote: string
    readonly status: string
  }[] = []
  /** Local addresses from which no path can be opened, and why. */
  readonly unreachable: Map<string, Error> = new Map()
  readonly #clock: ManualClock
  policy: PathPolicy | undefined
  probes = 0
  #nextId = 1

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  get open(): readonly string[] {
    return this.all
      .filter(({ state }) => state !== 'abandoned')
      .map((one) => `${one.localAddress}>${one.remoteAddress}`)
  }

  paths(): readonly PathView[] {
    return this.all.map((one) => ({ ...one, isValidated: true }) as unknown as PathView)
  }

  announcedAddresses(): readonly ServerEnd[] {
    return this.announced
  }

  async openPath({
    localAddress = '',
    remoteAddress = '',
    remotePort = 0,
    status = 'available',
  }: OpenPathOptions): Promise<PathId> {
    this.attempts.push({ atMs: this.#clock.nowMs(), local: localAddress, remote: remoteAddress, status })
    const error = this.unreachable.get(localAddress)
    await Promise.resolve()
    if (error !== undefined) throw error
    if (this.open.length >= this.pathLimit) throw new QuicError('ERR_PATH_LIMIT', 'full')
    const id = this.#nextId++
    this.all.push({
      ...path(id, localAddress, { address: remoteAddress, port: remotePort }),
      isBackup: status === 'backup',
    })
    return id
  }

  closePath(id: PathId): void {
    if (this.open.length <= 1) throw new QuicError('ERR_PATH', 'the only one')
    this.set(id, 'abandoned')
  }

  setPathStatus(id: PathId, status: 'available' | 'backup'): void {
    const found = this.all.find((one) => one.id === id)
    assert.ok(found !== undefined)
    found.isBackup = status === 'backup'
  }

  probeSilentPaths(): void {
    this.probes++
  }

  set(id: PathId, state: PathView['state']): void {
    const found = this.all.find((one) => one.id === id)
    assert.ok(found !== undefined)
    found.state = state
    if (state === 'abandoned') this.all = this.all.filter((one) => one !== found)
    this.policy?.review()
  }
}

function path(id: PathId, localAddress: string, { address, port }: ServerEnd): PaperPath {
  return { id, localAddress, remoteAddress: address, remotePort: port, state: 'active', isBackup: false }
}

function managed(addresses: readonly LocalAddress[], options: PathPolicyOptions = {}, prepare = (_: PaperHost) => {}) {
  const clock = new ManualClock()
  const host = new PaperHost(clock)
  prepare(host)
  const net = { addresses }
  const policy = new PathPolicy(host, options, { clock, list: () => net.addresses })
  host.policy = policy
  return { clock, host, net, policy }
}

test('every interface gets a path at the start, loopback does not, and nothing more happens', async () => {
  const { clock, host } = managed([lo, wifi, lte, cable])
  await clock.pass(60_000, 500)
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1', '198.51.100.1>203.0.113.1', '192.0.2.50>203.0.113.1'])
  assert.equal(host.attempts.length, 2)
})

test('only chosen interfaces are used, by the beginning of their names, and those in reserve are marked', async () => {
  const { clock, host } = managed([wifi, lte, cable], { interfaces: ['wlan0', 'ww'], backup: ['wwan'] })
  await clock.pass(5_000)
  assert.deepEqual(
    host.attempts.map(({ local, status }) => [local, status]),
    [[lte.address, 'backup']],
  )
  assert.equal(isChosen(lo, 'auto'), false)
})

test('a new address is used once it has lasted, one that keeps coming and going is not', async () => {
  const { clock, host, net } = managed([wifi])
  for (let n = 0; n < 10; n++) {
    net.addresses = n % 2 === 0 ? [wifi, lte] : [wifi]
    await clock.pass(400)
  }
  assert.equal(host.attempts.length, 0)
  net.addresses = [wifi, lte]
  await clock.pass(500)
  assert.equal(host.attempts.length, 0)
  await clock.pass(1_000)
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1', '198.51.100.1>203.0.113.1'])
})

test('a path whose interface is gone is closed at once while another one works, and comes back with it', async () => {
  const { clock, host, net } = managed([wifi, lte])
  await clock.pass(1_000)
  net.addresses = [lte]
  await clock.pass(500)
  assert.deepEqual(host.open, ['198.51.100.1>203.0.113.1'])
  net.addresses = [wifi, lte]
  await clock.pass(3_000)
  assert.deepEqual(host.open, ['198.51.100.1>203.0.113.1', '192.0.2.1>203.0.113.1'])
})

test('the last path is never closed: it waits for its address, or for another interface, which need not prove itself', async () => {
  const { clock, host, net } = managed([wifi])
  net.addresses = []
  host.set(0, 'silent')
  await clock.pass(120_000, 500)
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1'])
  net.addresses = [lte]
  await clock.pass(600)
  assert.deepEqual(host.open, ['198.51.100.1>203.0.113.1'], 'the dead one goes as soon as another works')
})

test('an address that returns under a dead path gets a new one when the old socket stays silent', async () => {
  const { clock, host, net } = managed([wifi])
  net.addresses = []
  host.set(0, 'silent')
  await clock.pass(5_000)
  net.addresses = [wifi]
  await clock.pass(3_000)
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1'])
  assert.equal(host.all[0]?.id, 1)
})

test('an address that returns under a path which answers again keeps it, and the path is asked at once', async () => {
  const { clock, host, net } = managed([wifi])
  net.addresses = []
  host.set(0, 'silent')
  await clock.pass(5_000)
  assert.equal(host.probes, 0)
  net.addresses = [wifi]
  await clock.pass(600)
  assert.equal(host.probes, 1)
  host.set(0, 'active')
  await clock.pass(10_000)
  assert.equal(host.attempts.length, 0)
})

test('a path that cannot be opened is tried for ever, at waits that double up to the longest one', async () => {
  const { clock, host, policy } = managed([wifi, lte], {}, (paper) =>
    paper.unreachable.set(lte.address, new QuicError('ERR_PATH_UNREACHABLE', 'no answer')),
  )
  await clock.pass(600_000, 100)
  const waits = host.attempts.map(({ atMs }, index) =>
    Math.round((atMs - (host.attempts[index - 1]?.atMs ?? atMs)) / 1_000),
  )
  assert.deepEqual(waits.slice(0, 8), [0, 1, 2, 4, 8, 16, 30, 30])
  assert.ok(waits.slice(7).every((wait) => wait === 30) && waits.length > 20)
  const plan = policy.plans().find(({ localAddress }) => localAddress === lte.address)
  assert.equal(plan?.state, 'waiting')
  assert.match(String(plan?.lastError), /no answer/)
  assert.ok((plan?.nextAttemptMs ?? Infinity) <= 30_000)
  host.unreachable.clear()
  await clock.pass(30_000, 500)
  assert.equal(host.open.length, 2)
})

test('problems are told with the plan they belong to', async () => {
  const told: string[] = []
  const { clock, policy } = managed([wifi, lte], {}, (paper) =>
    paper.unreachable.set(lte.address, new QuicError('ERR_PATH_UNREACHABLE', 'no answer')),
  )
  policy.onProblem = ({ localAddress, lastError }) => told.push(`${localAddress}: ${lastError?.message}`)
  await clock.pass(500)
  assert.deepEqual(told, ['198.51.100.1: no answer'])
})

// pitfall 13: mqvpn PR 33 and OpenMPTCProuter #4276: slots leak on a link that flaps
test('a link that flaps for an hour never holds more than one path, nor many attempts, and comes back as a reserve', async () => {
  const { clock, host, net } = managed([wifi, lte])
  let most = 0
  for (let n = 0; n < 900; n++) {
    net.addresses = [wifi, lte]
    await clock.pass(2_500, 500)
    most = Math.max(most, host.open.length)
    net.addresses = [wifi]
    await clock.pass(1_500, 500)
    assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1'])
  }
  assert.equal(most, 2)
  const perMinute = host.attempts.length / 60
  assert.ok(perMinute <= 3, `${perMinute} attempts a minute`)
  assert.equal(host.attempts.at(-1)?.status, 'backup')
  net.addresses = [wifi, lte]
  while (host.open.length < 2) await clock.pass(500, 500)
  await clock.pass(29_000, 500)
  assert.equal(host.all.at(-1)?.isBackup, true)
  await clock.pass(2_000, 500)
  assert.equal(host.all.at(-1)?.isBackup, false, 'it has lasted')
})

// pitfall 14: iroh #4393: paths opened and abandoned every few seconds, for ever
test('paths that the peer abandons right after they open are not opened again without end', async () => {
  const { clock, host } = managed([wifi, lte])
  for (let second = 0; second < 600; second++) {
    await clock.pass(1_000, 500)
    for (const { id } of host.all.filter((one) => one.id > 0)) host.set(id, 'abandoned')
  }
  assert.ok(host.attempts.length < 30, `${host.attempts.length} attempts in ten minutes`)
})

test('many interfaces that fail together share one budget', async () => {
  const many = Array.from({ length: 40 }, (_, n) => on(`ppp${n}`, `198.51.100.${n + 1}`))
  const { clock, host } = managed([wifi, ...many], { attemptsPerMinute: 30, pathsMax: 32 }, (paper) => {
    paper.pathLimit = 32
    for (const { address } of many) paper.unreachable.set(address, new QuicError('ERR_PATH_UNREACHABLE', 'no answer'))
  })
  await clock.pass(60_000, 500)
  assert.ok(host.attempts.length <= 8 + 30, `${host.attempts.length} attempts in a minute`)
  const budget = new ProbeBudget(60, 0)
  assert.equal(Array.from({ length: 20 }, () => budget.take(0)).filter(Boolean).length, 8)
  assert.equal(budget.nextAtMs(0), 1_000)
  assert.equal(budget.take(1_000), true)
})

test('announced addresses get paths after the first address has, and lose them when they are withdrawn', async () => {
  const further = { address: '203.0.113.9', port: 4433 }
  const { clock, host, policy } = managed([wifi, lte])
  await clock.pass(500)
  host.announced = [further, server, { address: '127.0.0.1', port: 443 }, { address: 'fe80:0:0:0:0:0:0:1', port: 1 }]
  policy.review()
  await clock.pass(1_500)
  assert.deepEqual(
    host.attempts.map(({ local, remote }) => `${local}>${remote}`),
    ['198.51.100.1>203.0.113.1', '192.0.2.1>203.0.113.9', '198.51.100.1>203.0.113.9'],
  )
  host.announced = []
  policy.review()
  assert.equal(host.open.length, 2)
})

test('announced addresses are left alone when the caller wants it', async () => {
  const { clock, host } = managed([wifi], { announced: false }, (paper) => {
    paper.announced = [{ address: '203.0.113.9', port: 443 }]
  })
  await clock.pass(5_000)
  assert.equal(host.attempts.length, 0)
})

test('where there is room for few paths, each interface gets one before any gets two', async () => {
  const { clock, host, net, policy } = managed([wifi], {}, (paper) => {
    paper.pathLimit = 2
    paper.announced = [{ address: '203.0.113.9', port: 443 }]
  })
  await clock.pass(500)
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1', '192.0.2.1>203.0.113.9'])
  net.addresses = [wifi, lte]
  await clock.pass(3_000)
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1', '198.51.100.1>203.0.113.1'])
  await clock.pass(60_000, 500)
  assert.equal(host.attempts.length, 2)
  assert.equal(policy.plans().length, 4)
})

test('families and scopes that do not fit are never paired', async () => {
  const { clock, host } = managed(
    [wifi, on('eth0', '2001:db8::7'), on('eth0', 'fe80::7'), on('usb0', '169.254.3.4')],
    {},
    (paper) => {
      paper.announced = [{ address: '2001:db8::1', port: 443 }]
    },
  )
  await clock.pass(2_000)
  assert.deepEqual(
    host.attempts.map(({ local, remote }) => `${local}>${remote}`),
    ['2001:db8::7>2001:db8::1'],
  )
})

test('a server without multipath ends the policy after one attempt, a closed connection at once', async () => {
  const { clock, host } = managed([wifi, lte, cable], {}, (paper) => {
    for (const { address } of [lte, cable]) paper.unreachable.set(address, new QuicError('ERR_NO_MULTIPATH', 'none'))
  })
  await clock.pass(60_000, 500)
  assert.ok(host.attempts.length <= 2)
  assert.equal(clock.pending, 0)
  const ended = managed([wifi, lte])
  ended.host.isClosed = true
  await ended.clock.pass(2_000)
  assert.equal(ended.clock.pending, 0)
})

test('a failed send makes it look at once', async () => {
  const { clock, host, net, policy } = managed([wifi, lte])
  await clock.pass(750)
  net.addresses = [wifi]
  policy.onSendFailed()
  assert.deepEqual(host.open, ['192.0.2.1>203.0.113.1'])
})

test('settings out of range are named with the range', () => {
  for (const [options, message] of [
    [{ pathsMax: 0 }, /paths\.pathsMax is 0; allowed: 1 to 32/],
    [{ stableMs: -1 }, /paths\.stableMs/],
    [{ attemptsPerMinute: Number.NaN }, /paths\.attemptsPerMinute is NaN/],
    [{ interfaces: [] }, /names none/],
    [{ retryMs: 5_000, retryMaxMs: 1_000 }, /below paths\.retryMs/],
  ] as const) {
    assert.throws(() => resolvePathPolicy(options), { code: 'ERR_CONFIG', message })
  }
})
