/**
 * What picoquic asks of itself when several paths are used: the scenarios of its multipath tests with their links, sizes
 * and time limits (private-octopus/picoquic, picoquictest/multipath_test.c), run by our engine in virtual time.
 */
import type { EndpointOptions, Micros } from '@quicether/transport'
import { type Scenario, type ScenarioLink, type ScenarioTransfer, world } from './scenario.ts'
import { milliseconds, seconds } from './timeline.ts'

/** Their links carry UDP payload at the rate, ours whole IP packets: a full datagram takes as long there as here. */
const HEADERS = 1_480 / 1_452
const FULL_PACKET_BYTES = 1_480
const MB = 1_000_000
/** What their tests run before something happens to a link. */
const UNTIL_EVENT_US = milliseconds(640)
const DATAGRAM_BYTES = 1_000

/** A link as theirs: the queue holds what is sent in so much time, and the packet that fits last. */
function link(rateMbit: number, delayMs: number, queueMs: number): ScenarioLink {
  const rateBitsPerSecond = rateMbit * 1e6 * HEADERS
  const queueBytes = (rateBitsPerSecond * queueMs) / 8_000 + FULL_PACKET_BYTES
  return { rateBitsPerSecond, delayUs: milliseconds(delayMs), queueBytes }
}

const plain = link(10, 10, 20)
/** Their rates in picoseconds per byte are divided by 2^20 rather than 10^6. */
const BINARY = 1.048576
const thin = link(BINARY, 10, 20)
const satellite = link(10, 300, 600)
const wifi = link(50 * BINARY, 15, 30)
const lte = link(40 * BINARY, 30, 60)

interface Setting {
  readonly a?: ScenarioLink
  readonly b?: ScenarioLink
  readonly client?: EndpointOptions['config']
  readonly server?: EndpointOptions['config']
  /** Replies of 1 MB each: `two` = the second begins when the first is there, otherwise so many at once. */
  readonly streams?: 'two' | number
}

export interface LimitCase {
  /** Name of their test without `multipath_`. */
  readonly name: string
  readonly about: string
  /** From the start of the handshake until all is delivered and known to be. */
  readonly limitUs: Micros
  readonly setting?: Setting
  /** Right after the paths are there. */
  readonly prepare?: (run: LimitRun) => void
  /** 640 ms later. */
  readonly event?: (run: LimitRun) => void
  /** What else they ask; a message when it does not hold. */
  readonly check?: (run: LimitRun) => string | undefined
  /** The second path is not waited for. */
  readonly isLonely?: boolean
}

/** One scenario under way. */
export class LimitRun {
  readonly lab: Scenario
  readonly transfers: ScenarioTransfer[] = []

  constructor(
    seed: number,
    { a = plain, b = plain, client = {}, server = {} }: Setting,
    extra: EndpointOptions['config'] = {},
  ) {
    const common = extra
    this.lab = world({
      seed,
      links: { a: { ...a, nat: 'restricted' }, b },
      clientConfig: { ...common, maxPaths: 4, ...client },
      serverConfig: { ...common, maxPaths: 3, ...server },
    })
  }

  /** Asks for the replies as the setting says. */
  request(streams: Setting['streams'] = 'two'): void {
    const { client, world: virtual } = this.lab
    this.transfers.push(client.download(MB))
    if (streams !== 'two') {
      while (this.transfers.length < streams) this.transfers.push(client.download(MB))
      return
    }
    virtual.observe({
      afterStep: () => {
        if (this.transfers.length === 1 && this.transfers[0]?.receivedBytes === MB)
          this.transfers.push(client.download(MB))
      },
    })
  }

  isFinished(streams: Setting['streams'] = 'two'): boolean {
    const wanted = streams === 'two' ? 2 : streams
    return this.transfers.length === wanted && this.transfers.every((transfer) => transfer.finished())
  }

  /** Both sides send a datagram every 3 ms, as long as each has sent fewer than 100. */
  sendDatagrams(options: { readonly path?: number } = {}): void {
    const ends = [this.lab.client.app, this.lab.accepted[0]].filter((app) => app !== undefined)
    let rounds = 0
    this.lab.world.every(3_000, () => {
      for (const app of ends) app.sendDatagram(DATAGRAM_BYTES, options)
      return ++rounds < 100
    })
  }

  /** Three quarters of the datagrams must have arrived on each side; a message when they have not. */
  missingDatagrams(): string | undefined {
    const counts = [this.lab.client.app, this.lab.accepted[0]].map((app) => app?.datagramsReceived ?? 0)
    return counts.every((count) => count >= 75) ? undefined : `${counts.join(' and ')} of 100 datagrams arrived`
  }

  /** Bytes that the server sent over a path. */
  sentByServer(id: number): number {
    return this.#serverPath(id)?.bytesSent ?? 0
  }

  #serverPath(id: number): { readonly bytesSent: number; readonly state: string } | undefined {
    return this.lab.accepted[0]?.connection.paths().find((path) => path.id === id)
  }

  /** Paths that either side holds open. */
  openPaths(): readonly [number, number] {
    const count = (views: readonly { readonly state: string }[] = []): number =>
      views.filter(({ state }) => state !== 'abandoned').length
    return [count(this.lab.client.app.connection.paths()), count(this.lab.accepted[0]?.connection.paths())]
  }
}

function mustHavePaths(wanted: number): (run: LimitRun) => string | undefined {
  return (run) => {
    const [client, server] = run.openPaths()
    return client === wanted && server === wanted ? undefined : `${client} and ${server} paths open, ${wanted} wanted`
  }
}

/** Opens a path as soon as path and connection IDs allow. */
function openOver(lab: Scenario, name: string): void {
  for (let tries = 0; lab.openPath(name) === undefined; tries++) {
    if (tries === 1_000) throw new Error(`no path over ${name} could be opened`)
    lab.run(1_000)
  }
}

const cut =
  (name: 'a' | 'b') =>
  ({ lab }: LimitRun): void =>
    lab.link(name).cut()
const unreachable =
  (name: 'a' | 'b') =>
  ({ lab }: LimitRun): void =>
    lab.client.party.host.interface(name).down('error')

const rebind = ({ lab }: LimitRun): void => lab.nat('a').rebind()
const isAtNewAddress = ({ lab }: LimitRun): string | undefined =>
  (lab.accepted[0]?.connection.stats().rebindings ?? 0) > 0 ? undefined : 'the server has not followed path 0'

/** Every case of theirs that an engine can be asked for; what is left out is said in docs/multipath.md. */
export const limitCases: readonly LimitCase[] = [
  { name: 'basic', about: 'two replies of 1 MB, one after the other, over two links', limitUs: 1_060_000 },
  {
    name: 'just_one',
    about: 'the same when the server allows one path more',
    limitUs: 1_060_000,
    setting: { server: { maxPaths: 2 } },
  },
  {
    name: 'callback',
    about: 'the same; the client is told of its paths',
    limitUs: seconds(1),
    check: ({ lab }) => (/client#0 path 1 validated/.test(lab.timeline('path')) ? undefined : 'path 1 was not told'),
  },
  {
    name: 'perf',
    about: 'ten replies at once, 52 Mbit/s 15 ms and 42 Mbit/s 30 ms',
    limitUs: 1_650_000,
    setting: { a: wifi, b: lte, streams: 10 },
  },
  {
    name: 'sat_plus',
    about: 'ten replies at once, 1 Mbit/s 10 ms and a satellite of 10 Mbit/s 300 ms',
    limitUs: seconds(10),
    setting: { a: thin, b: satellite, streams: 10 },
  },
  { name: 'drop_first', about: 'the first link dies for good', limitUs: 1_490_000, event: cut('a') },
  { name: 'drop_second', about: 'the second link dies for good', limitUs: 1_260_000, event: cut('b') },
  {
    name: 'abandon',
    about: 'the client abandons path 0',
    limitUs: 3_800_000,
    event: ({ lab }) => {
      lab.closePath('a')
      lab.run(1_100_000)
    },
    check: mustHavePaths(1),
  },
  {
    name: 'ab1',
    about: 'seven paths abandoned before they are used, 250 ms apart, then one that stays (room for 16 here)',
    limitUs: seconds(3),
    // RFC 10069 §3.4 keeps an abandoned path ID for three probe timeouts, which without a round trip measured is 3 s.
    setting: { client: { maxPaths: 16 }, server: { maxPaths: 16 } },
    isLonely: true,
    prepare: ({ lab }) => {
      for (let i = 0; i < 7; i++) {
        openOver(lab, 'b')
        lab.closePath('b')
        lab.run(250_000)
      }
      openOver(lab, 'b')
    },
    check: (run) => {
      run.lab.run(seconds(4))
      return mustHavePaths(2)(run)
    },
  },
  {
    name: 'back0',
    about: 'link a fails with socket errors, is back after 1 s, a new path over it',
    limitUs: 3_300_000,
    event: (run) => {
      unreachable('a')(run)
      run.lab.run(seconds(1))
      run.lab.client.party.host.interface('a').up()
      run.lab.openPath('a')
    },
  },
  {
    name: 'back1',
    about: 'the first link has 1 Mbit/s, the second is dead for 1 s',
    limitUs: 3_300_000,
    setting: { a: thin },
    event: (run) => {
      cut('b')(run)
      run.lab.run(seconds(1))
      run.lab.link('b').mend()
    },
    check: mustHavePaths(2),
  },
  {
    name: 'nat',
    about: 'the NAT of the first link rebinds',
    limitUs: seconds(3),
    event: rebind,
    check: isAtNewAddress,
  },
  {
    name: 'nat_challenge',
    about: 'the same with a challenge of the client',
    limitUs: seconds(3),
    event: (run) => {
      rebind(run)
      run.lab.client.app.connection.updateKeys()
    },
    check: isAtNewAddress,
  },
  {
    name: 'renew',
    about: 'a new connection ID on path 1',
    limitUs: seconds(3),
    event: ({ lab }) => {
      if (!lab.client.app.connection.rotateCid(1)) throw new Error('no connection ID to renew with')
    },
  },
  {
    name: 'rotation',
    about: 'new keys every 200 packets',
    limitUs: seconds(3),
    setting: { server: { keyUpdatePackets: 200 } },
    check: ({ lab }) => ((lab.accepted[0]?.connection.stats().keyUpdates ?? 0) > 0 ? undefined : 'no key update'),
  },
  {
    name: 'break1',
    about: 'the second link dies for good, the first has 1 Mbit/s',
    limitUs: 10_800_000,
    setting: { a: thin },
    event: cut('b'),
  },
  {
    name: 'socket_error',
    about: 'the same by socket errors',
    limitUs: seconds(11),
    setting: { a: thin },
    event: unreachable('b'),
  },
  { name: 'socket0_error', about: 'socket errors on the first link', limitUs: 10_900_000, event: unreachable('a') },
  {
    name: 'standup',
    about: 'the first link dies, the second is a backup',
    limitUs: 7_200_000,
    prepare: ({ lab }) => lab.setPathStatus('b', 'backup'),
    event: cut('a'),
  },
  {
    name: 'backup',
    about: 'a backup that is not needed carries at most 50 kB',
    limitUs: seconds(2),
    prepare: ({ lab }) => lab.setPathStatus('b', 'backup'),
    check: (run) => (run.sentByServer(1) <= 50_000 ? undefined : `${run.sentByServer(1)} bytes over the backup`),
  },
  {
    name: 'stream_af',
    about: 'the first stream stays on path 0',
    limitUs: 1_500_000,
    prepare: ({ lab }) => void lab.accepted[0]?.connection.setStreamPath(0, 0),
    check: (run) => (run.sentByServer(1) <= 600_000 ? undefined : `${run.sentByServer(1)} bytes over path 1`),
  },
  {
    name: 'datagram',
    about: 'a hundred datagrams either way beside the replies, three quarters arrive',
    limitUs: 1_150_000,
    prepare: (run) => run.sendDatagrams(),
    check: (run) => run.missingDatagrams(),
  },
  {
    name: 'dg_af',
    about: 'the same, datagrams on path 0 alone',
    limitUs: 1_100_000,
    prepare: (run) => run.sendDatagrams({ path: 0 }),
    check: (run) => run.missingDatagrams(),
  },
  {
    name: 'fail',
    about: 'nothing comes back over the second link: its path never works and goes',
    limitUs: seconds(2),
    isLonely: true,
    prepare: ({ lab }) => {
      lab.link('b').down.isCut = true
      openOver(lab, 'b')
    },
    check: (run) => {
      run.lab.run(seconds(4))
      return mustHavePaths(1)(run)
    },
  },
  {
    name: 'tunnel',
    about: 'both links dead for 5 s',
    limitUs: seconds(12),
    event: (run) => {
      cut('a')(run)
      cut('b')(run)
      run.lab.run(seconds(5))
      run.lab.link('a').mend()
      run.lab.link('b').mend()
    },
  },
]

export interface LimitReport {
  readonly name: string
  readonly measuredUs: Micros
  readonly limitUs: Micros
  /** Why the case does not pass; undefined when it does. */
  readonly failure: string | undefined
}

/** Runs one case. A case that does not end within three times its limit throws `LivenessError`. */
export function runLimit(
  { limitUs, ...each }: LimitCase,
  seed: number,
  config: EndpointOptions['config'] = {},
): LimitReport {
  const setting = each.setting ?? {}
  const run = new LimitRun(seed, setting, config)
  const { lab } = run
  lab.until(() => lab.client.app.isConfirmed, { withinUs: seconds(2), what: 'the handshake' })
  run.request(setting.streams)
  if (each.isLonely !== true) lab.join('b')
  each.prepare?.(run)
  if (each.event !== undefined) {
    lab.run(UNTIL_EVENT_US)
    each.event(run)
  }
  lab.until(() => run.isFinished(setting.streams), { withinUs: 3 * limitUs, what: `the replies of ${each.name}` })
  const measuredUs = lab.world.nowUs - lab.startUs
  const late = measuredUs > limitUs ? `took ${measuredUs} us` : undefined
  return { name: each.name, measuredUs, limitUs, failure: late ?? each.check?.(run) }
}
