/** Runs the path model: commands one after the other, the model compared after each, then calm, in which all must work. */
import type { Micros } from '@quicether/transport'
import type { TransferHandle } from './connection-app.ts'
import { inspectConnection } from './inspection.ts'
import { describeStep, drawModelPlan, type ModelPlan, type ModelStep, type Side } from './model-steps.ts'
import { ModelWorld, type ModelAccess, SERVER_ADDRESS, SERVER_PORT } from './model-world.ts'
import { SafetyError } from './transfers.ts'

export interface ModelReport {
  readonly seed: number
  /** Fingerprint of every datagram and its time. */
  readonly digest: string
  readonly virtualUs: Micros
  readonly datagrams: number
  /** Commands with what came of them, one line each. */
  readonly steps: readonly string[]
  readonly pathsOpened: number
  readonly pathsClosed: number
  readonly tampered: number
  readonly migrations: number
  readonly rebindings: number
  readonly keyUpdates: number
  readonly transfers: number
  readonly failure: string | undefined
  /** All of it when verbose, its end when the run failed. */
  readonly timeline: string
}

export interface ModelOptions {
  /** Writes every packet into the timeline. */
  readonly isVerbose?: boolean
}

const CALM_US = 120_000_000
/** Bytes that each path must carry, either way, once everything works again. */
const PROOF_BYTES = 30_000
/** How often, and how long apart, a path is asked for that must be possible. */
const ROOM_TRIES = 300
const ROOM_PAUSE_US = 100_000

/** Draws the plan of a seed and runs it. */
export function runModelSeed(seed: number, options: ModelOptions = {}): ModelReport {
  return runModel(drawModelPlan(seed), options)
}

/** Runs a plan. Failures are reported, never thrown. */
export function runModel(plan: ModelPlan, options: ModelOptions = {}): ModelReport {
  const run = new ModelRun(plan, options)
  let failure: string | undefined
  try {
    run.run()
  } catch (error) {
    failure = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    const isExpected = error instanceof Error && (error instanceof SafetyError || error.name === 'LivenessError')
    if (error instanceof Error && !isExpected) failure += `\n${error.stack ?? ''}`
  }
  return run.report(failure)
}

const sides: readonly Side[] = ['client', 'server']

class ModelRun {
  readonly #plan: ModelPlan
  readonly #isVerbose: boolean
  readonly #net: ModelWorld
  readonly #steps: string[] = []
  readonly #transfers: TransferHandle[] = []
  #isOver = false
  #opened = 0
  #closed = 0
  #migrations = 0
  #rebindings = 0
  #keyUpdates = 0

  constructor(plan: ModelPlan, options: ModelOptions) {
    this.#plan = plan
    this.#isVerbose = options.isVerbose === true
    this.#net = new ModelWorld(plan, this.#isVerbose)
  }

  run(): void {
    const { world, parties, models } = this.#net
    parties.client.connect(SERVER_ADDRESS, SERVER_PORT)
    const isConfirmed = (): boolean => sides.every((side) => this.#net.apps[side]?.isConfirmed === true)
    this.#until(isConfirmed, 20_000_000, 'the handshake')
    // What confirms the handshake may still be on its way in a packet with Handshake packets before it.
    world.run(300_000)
    for (const side of sides) models[side].arm()
    for (const step of this.#plan.steps) this.#perform(step)
    this.#net.heal()
    world.note('phase', 'calm')
    this.#proveLife()
    this.#end()
  }

  #until(condition: () => boolean, withinUs: Micros, what: string): void {
    this.#net.world.until(condition, { withinUs, what })
  }

  // ---- commands

  #perform(step: ModelStep): void {
    const { world } = this.#net
    const line = describeStep(step)
    world.note('command', line)
    const outcome = this.#act(step)
    this.#steps.push(outcome === '' ? line : `${line} (${outcome})`)
    world.run(step.thenUs)
    this.#check()
  }

  #check(): void {
    for (const side of sides) {
      const app = this.#net.app(side)
      if (app.closed !== undefined && !this.#isOver)
        throw new SafetyError(`the connection closed at the ${side}: ${JSON.stringify(app.closed)}`)
      this.#net.models[side].check()
      inspectConnection(app.connection)
    }
    this.#net.throwViolation()
  }

  /** Performs a command; returns what came of it, '' when there is nothing to say. */
  #act(step: ModelStep): string {
    switch (step.op) {
      case 'drive':
        return ''
      case 'open':
        return this.#open(this.#access(step.link), step.isBackup)
      case 'close':
        return this.#close(step.side, this.#pathId(step.side, step.nth))
      case 'status':
        return this.#setStatus(step.side, this.#pathId(step.side, step.nth), step.isBackup)
      case 'waver': {
        const id = this.#pathId(step.side, step.nth)
        for (let i = 1; i < step.times; i++) {
          this.#setStatus(step.side, id, i % 2 === 1)
          this.#net.world.run(step.everyUs)
        }
        return this.#setStatus(step.side, id, step.times % 2 === 1)
      }
      case 'migrate':
        return this.#migrate(this.#access(step.link))
      case 'update-keys':
        this.#keyUpdates++
        this.#net.connection(step.side).updateKeys()
        return ''
      case 'starve':
        return this.#starve(step.side)
      case 'transfer':
        return this.#transfer(step.upBytes, step.downBytes, step.key)
      case 'datagrams': {
        let taken = 0
        for (let i = 0; i < step.count; i++) if (this.#net.app(step.side).sendDatagram(step.bytes)) taken++
        return `${taken} taken`
      }
      default:
        return this.#actOnLink(step, this.#access(step.link))
    }
  }

  #actOnLink(step: Extract<ModelStep, { readonly link: number }>, access: ModelAccess): string {
    const { link, via, nat } = access
    if (step.op === 'tamper') this.#net.tamperWith(access, step.way, step.count, step.how)
    else if (step.op === 'loss') link.set({ lossRatio: step.ratio })
    else if (step.op === 'delay') link.set({ delayUs: step.delayUs })
    else if (step.op === 'mend') link.mend()
    else if (step.op === 'down') via.down(step.mode)
    else if (step.op === 'up') via.up()
    else if (step.op === 'cut') {
      if (step.way !== 'down') link.up.isCut = true
      if (step.way !== 'up') link.down.isCut = true
    } else if (step.op === 'rebind') {
      if (nat === undefined) return 'no NAT there'
      const address = step.address === undefined ? undefined : `198.51.100.${step.address}`
      if (this.#net.accesses.some((other) => other.nat?.publicAddress === address)) nat.rebind()
      else nat.rebind(address)
      this.#rebindings++
      return nat.publicAddress
    }
    return ''
  }

  #access(index: number): ModelAccess {
    return this.#net.accesses[index % this.#net.accesses.length] as ModelAccess
  }

  /** One of the path IDs known so far, or one that never was. */
  #pathId(side: Side, nth: number): number {
    const ids = [...this.#net.models[side].paths.keys()]
    return ids[nth % (ids.length + 1)] ?? 99
  }

  #open(access: ModelAccess, isBackup: boolean): string {
    const { models, world } = this.#net
    const status = isBackup ? 'backup' : 'available'
    const id = this.#net.connection('client').openPath(this.#net.tupleOver(access), { status }, world.nowUs)
    if (id === undefined) return 'refused'
    models.client.onAppOpened(id)
    const path = models.client.paths.get(id)
    if (path !== undefined) path.ownStatus = status
    this.#opened++
    return `path ${id}`
  }

  /** Closes a path unless that would leave none that works; the application would not do that either. */
  #close(side: Side, id: number): string {
    const { models, world } = this.#net
    const path = models[side].paths.get(id)
    const isOpen = path?.phase === 'open'
    if (isOpen && !this.#workingPaths().some((other) => other !== id)) return `path ${id} stays: no other works`
    if (isOpen) path.wasClosedByApp = true
    this.#net.connection(side).closePath(id, world.nowUs)
    if (!isOpen) return `path ${id} is not open`
    this.#closed++
    return `path ${id}`
  }

  /** Path IDs that both sides hold open, proved and answering. */
  #workingPaths(): number[] {
    const { client, server } = this.#net.models
    return client.openPaths().flatMap(({ id }) => {
      if (server.paths.get(id)?.phase !== 'open') return []
      const isWorking = sides.every((side) =>
        this.#net
          .connection(side)
          .paths()
          .some((view) => view.id === id && view.state === 'active'),
      )
      return isWorking ? [id] : []
    })
  }

  #setStatus(side: Side, id: number, isBackup: boolean): string {
    const path = this.#net.models[side].paths.get(id)
    const status = isBackup ? 'backup' : 'available'
    this.#net.connection(side).setPathStatus(id, status)
    if (path?.phase !== 'open') return `path ${id} is not open`
    path.ownStatus = status
    return `path ${id}`
  }

  #migrate(access: ModelAccess): string {
    const isStarted = this.#net.connection('client').migrate(this.#net.tupleOver(access), this.#net.world.nowUs)
    if (isStarted) this.#migrations++
    return isStarted ? '' : 'refused'
  }

  #starve(side: Side): string {
    let used = 0
    while (used < 64 && this.#net.connection(side).rotateCid()) used++
    return `${used} connection IDs used up`
  }

  #transfer(uploadBytes: number, replyBytes: number, key: number): string {
    const handle = this.#net.app('client').transfer({
      kind: 'bidirectional',
      key,
      uploadBytes,
      replyBytes,
      openerResetsAt: Infinity,
      openerStopsAt: Infinity,
      acceptorResetsAt: Infinity,
      acceptorStopsAt: Infinity,
      openerReadDelayUs: 0,
      acceptorReadDelayUs: 0,
    })
    this.#transfers.push(handle)
    return ''
  }

  // ---- calm

  #proveLife(): void {
    const { client, server } = this.#net.models
    const isDone = (): boolean => this.#transfers.every(({ finishedAtUs }) => finishedAtUs !== undefined)
    this.#until(isDone, CALM_US, 'the end of all transfers')
    this.#check()
    const isSettled = (): boolean => {
      client.check()
      server.check()
      const isAgreed = client.openPaths().every(({ id }) => server.paths.get(id)?.phase === 'open')
      return isAgreed && client.openPaths().length === server.openPaths().length && this.#areAllGone()
    }
    this.#until(isSettled, CALM_US, 'both sides to agree on the open paths')
    this.#fillUp()
    for (const { id } of client.openPaths()) this.#provePath(id)
    const isTrue = (): boolean => client.openPaths().every(({ id }) => this.#isTrue(id))
    this.#until(isTrue, CALM_US, 'all paths to answer where the client really is, with equal statuses')
    const [atClient, atServer] = sides.map((side) => this.#net.connection(side).stats().keyUpdates) as [number, number]
    // The last one may not have been answered by a packet yet.
    if (Math.abs(atClient - atServer) > 1) throw new SafetyError(`key updates: ${atClient} and ${atServer}`)
    this.#check()
  }

  /** Every path that was abandoned is forgotten on both sides, each having told the other. */
  #areAllGone(): boolean {
    return sides.every((side) => {
      const peer = this.#net.models[side === 'client' ? 'server' : 'client']
      return [...this.#net.models[side].paths.values()].every(({ id, phase, abandonSent }) => {
        if (phase === 'open') return true
        // A path that the peer never came to know needs no word of the peer's own.
        const isTold = abandonSent || peer.paths.get(id) === undefined
        return phase === 'gone' && isTold
      })
    })
  }

  /** No slot is lost: as many paths as both sides allow can be open. */
  #fillUp(): void {
    const { client, server } = this.#net.models
    const { maxPaths } = this.#plan
    const most = Math.min(maxPaths.client, maxPaths.server)
    for (let tries = 0; client.openPaths().length < most; tries++) {
      if (tries === ROOM_TRIES)
        throw new SafetyError(`no room for path number ${client.openPaths().length + 1} of ${most}`)
      // A refusal tells the peer what is missing: the answer takes a while.
      if (this.#open(this.#access(tries), false) === 'refused') this.#net.world.run(ROOM_PAUSE_US)
    }
    const areProved = (): boolean =>
      client.openPaths().every(({ id }) => server.paths.get(id)?.phase === 'open' && this.#viewsOf(id).every(isProved))
    const isProved = ({ isValidated }: { readonly isValidated: boolean }): boolean => isValidated
    this.#until(areProved, CALM_US, 'the validation of all paths')
    this.#check()
  }

  #viewsOf(id: number): ReturnType<ReturnType<ModelWorld['connection']>['paths']>[number][] {
    return sides.flatMap((side) =>
      this.#net
        .connection(side)
        .paths()
        .filter((view) => view.id === id),
    )
  }

  /** With all others in reserve, data flows over this path in both directions. */
  #provePath(id: number): void {
    for (const side of sides) {
      for (const path of this.#net.models[side].openPaths()) this.#setStatus(side, path.id, path.id !== id)
    }
    this.#net.world.run(500_000)
    const before = this.#viewsOf(id).map(({ bytesSent }) => bytesSent)
    const isProved = (): boolean =>
      this.#viewsOf(id).every(({ bytesSent }, index) => bytesSent - (before[index] as number) > PROOF_BYTES)
    for (let rounds = 0; !isProved(); rounds++) {
      if (rounds === 30) throw new SafetyError(`path ${id} carries no data although it is the only available one`)
      this.#transfer(PROOF_BYTES, PROOF_BYTES, 1_000 * id + rounds)
      const handle = this.#transfers.at(-1)
      this.#until(() => handle?.finishedAtUs !== undefined, CALM_US, `a transfer with path ${id} as the only available`)
      this.#net.world.run(1_000_000)
      this.#check()
    }
  }

  /** The server knows the path where the client is, both say the same of it, and both find it answering. */
  #isTrue(id: number): boolean {
    const [atClient, atServer] = this.#viewsOf(id)
    if (atClient === undefined || atServer === undefined) return false
    if (atServer.remoteAddress !== this.#net.publicAddress(atClient.localAddress)) return false
    if (atClient.isBackup !== atServer.isBackup) return false
    return atClient.state === 'active' && atServer.state === 'active'
  }

  #end(): void {
    const { world, parties } = this.#net
    this.#isOver = true
    world.run(1_000_000)
    this.#net.connection('client').close(0, 'done')
    const isOver = (): boolean => sides.every((side) => parties[side].apps.size === 0)
    this.#until(isOver, 400_000_000, 'the end of the connection')
    this.#until(() => world.pool.inUse === 0, 60_000_000, 'the landing of the last datagrams')
    for (const side of sides) this.#checkLeaks(side)
  }

  #checkLeaks(side: Side): void {
    const { endpoint, crypto } = this.#net.parties[side]
    if (endpoint.connectionCount !== 0 || endpoint.routeCount !== 0)
      throw new SafetyError(`${side}: ${endpoint.connectionCount} connections and ${endpoint.routeCount} routes left`)
    if (endpoint.pollTimeout() !== Infinity) throw new SafetyError(`${side}: a timer outlived the connection`)
    const [keys, spaces] = [crypto.fake?.openKeys() ?? 0, crypto.fake?.openSpaces() ?? 0]
    if (keys !== 0 || spaces !== 0)
      throw new SafetyError(`${side}: ${keys} keys and ${spaces} packet number spaces were never closed`)
  }

  report(failure: string | undefined): ModelReport {
    const { world, tampered, apps } = this.#net
    const views = sides.map((side) => `${side}: ${JSON.stringify(apps[side]?.connection.paths() ?? [])}`).join('\n')
    const shown = this.#isVerbose ? world.timeline() : world.timelineTail(40)
    return {
      seed: this.#plan.seed,
      digest: world.digest.hex(),
      virtualUs: world.nowUs,
      datagrams: world.digest.datagrams,
      steps: this.#steps,
      pathsOpened: this.#opened,
      pathsClosed: this.#closed,
      tampered,
      migrations: this.#migrations,
      rebindings: this.#rebindings,
      keyUpdates: this.#keyUpdates,
      transfers: this.#transfers.length,
      failure,
      timeline: failure === undefined && !this.#isVerbose ? '' : `${shown}\n${views}`,
    }
  }
}
