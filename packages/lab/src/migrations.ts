/** Goal G6 in virtual time: what a NAT rebinding costs, and migrations without end in one connection. */
import type { Connection, EndpointOptions, Micros } from '@quicether/transport'
import { DeliveryWatch, twoLinks } from './multipath-figures.ts'
import { type Scenario, type ScenarioLink, world } from './scenario.ts'
import { milliseconds, seconds } from './timeline.ts'

/** PTO of a path as the server sees it: with the client's delay of acknowledgments. */
function ptoUs(connection: Connection | undefined, id: number): Micros {
  const view = connection?.paths().find((path) => path.id === id)
  if (view === undefined) throw new Error(`the server does not know path ${id}`)
  return view.smoothedRttUs + Math.max(4 * view.rttVarUs, 1_000) + 25_000
}

export interface RebindingReport {
  /** Longest time without a byte for the application, from the rebinding on. */
  readonly gapUs: Micros
  /** Goal G6: 1.5 round trips and a probe timeout, as measured before. */
  readonly allowedUs: Micros
  readonly rttUs: Micros
}

/** A transfer during which the NAT of the only link gives the client another port, or another address. */
export function rebindingGap(options: {
  readonly seed: number
  readonly link: ScenarioLink
  readonly direction: 'download' | 'upload'
  readonly publicAddress?: string
}): RebindingReport {
  const lab = world({ seed: options.seed, links: { a: { ...options.link, nat: 'restricted' } } })
  lab.until(() => lab.client.app.isConfirmed, { withinUs: seconds(5), what: 'the handshake' })
  const transfer = options.direction === 'download' ? lab.client.download(1e9) : lab.client.exchange(1e9)
  const watch = new DeliveryWatch(lab, transfer)
  lab.run(seconds(2))
  const rttUs = lab.accepted[0]?.connection.paths()[0]?.smoothedRttUs ?? 0
  const allowedUs = 1.5 * rttUs + ptoUs(lab.accepted[0]?.connection, 0)
  watch.reset()
  lab.nat('a').rebind(options.publicAddress)
  lab.run(seconds(1))
  return { gapUs: watch.gapUs, allowedUs, rttUs }
}

/**
 * The same with two paths, of which the NAT of `a` gives the client another port; its path is the measure of what is allowed.
 */
export function rebindingGapOfTwo(options: {
  readonly seed: number
  readonly a: ScenarioLink
  readonly b: ScenarioLink
  readonly direction: 'download' | 'upload'
  readonly config?: EndpointOptions['config']
}): RebindingReport {
  const { a, direction } = options
  const lab = twoLinks({ ...options, a: { ...a, nat: 'restricted' } })
  const transfer = direction === 'download' ? lab.client.download(1e9) : lab.client.exchange(1e9)
  const watch = new DeliveryWatch(lab, transfer)
  lab.run(seconds(2))
  const server = lab.accepted[0]?.connection
  const id = lab.pathOver('a')?.id ?? 0
  const rttUs = server?.paths().find((path) => path.id === id)?.smoothedRttUs ?? 0
  const allowedUs = 1.5 * rttUs + ptoUs(server, id)
  watch.reset()
  lab.nat('a').rebind()
  lab.run(seconds(1))
  return { gapUs: watch.gapUs, allowedUs, rttUs }
}

/** What both sides hold that could leak. */
export interface Holdings {
  readonly routes: readonly [number, number]
  readonly probes: readonly [number, number]
  readonly registries: readonly [number, number]
}

function holdings(lab: Scenario): Holdings {
  const server = lab.accepted[0]?.connection
  const ends = [
    [lab.client.party.endpoint, lab.client.app.connection],
    [lab.server.endpoint, server],
  ] as const
  const both = (of: (end: (typeof ends)[number]) => number): [number, number] => [of(ends[0]), of(ends[1])]
  return {
    routes: both(([endpoint]) => endpoint.routeCount),
    probes: both(([, connection]) => connection?.core.paths.probes.length ?? 0),
    registries: both(([, connection]) => connection?.core.multipath.registries.size ?? 0),
  }
}

export interface MigrationsReport {
  readonly migrations: number
  readonly before: Holdings
  readonly after: Holdings
  /** Connection IDs that the client used up on the way. */
  readonly cidsUsed: number
  readonly closed: boolean
}

const home: ScenarioLink = { delayUs: milliseconds(2), rateBitsPerSecond: 50e6 }
const away: ScenarioLink = { delayUs: milliseconds(5), rateBitsPerSecond: 20e6 }

/**
 * One connection whose first path goes back and forth between two links, with a little traffic each time. With
 * `hasSecondPath` another path over the second link stays where it is.
 */
export function migrateAgainAndAgain(options: {
  readonly seed: number
  readonly count: number
  readonly hasSecondPath: boolean
}): MigrationsReport {
  const lab = options.hasSecondPath
    ? twoLinks({ seed: options.seed, a: home, b: away })
    : world({ seed: options.seed, links: { a: home, b: away } })
  const { app } = lab.client
  lab.until(() => app.isConfirmed, { withinUs: seconds(5), what: 'the handshake' })
  lab.run(milliseconds(500))
  const before = holdings(lab)
  const first = app.connection.path.cids.active?.sequence ?? 0
  for (let done = 0; done < options.count; done++) {
    const name = done % 2 === 0 ? 'b' : 'a'
    for (let tries = 0; !lab.migrate(name); tries++) {
      if (tries === 100) throw new Error(`migration ${done + 1} is refused: no connection ID after a second`)
      lab.run(milliseconds(10))
    }
    const isThere = (): boolean => app.connection.stats().migrations === done + 1
    lab.until(isThere, { withinUs: seconds(5), what: `migration ${done + 1}` })
    const transfer = lab.client.exchange(500)
    lab.until(transfer.finished, { withinUs: seconds(10), what: `the exchange after migration ${done + 1}` })
  }
  lab.run(seconds(10))
  return {
    migrations: app.connection.stats().migrations,
    before,
    after: holdings(lab),
    cidsUsed: (app.connection.path.cids.active?.sequence ?? 0) - first,
    closed: app.closed !== undefined,
  }
}
