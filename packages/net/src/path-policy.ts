/** Opens, reserves and closes the paths of a client as interfaces and server addresses come and go. */
import { type PathId, type PathView, QuicError } from '@quicether/transport'
import type { OpenPathOptions } from './client-paths.ts'
import { type Clock, systemClock } from './clock.ts'
import { InterfaceWatch, type LocalAddress } from './interface-watch.ts'
import { mayFollow, scopeOf } from './ip-address.ts'
import { type Candidate, candidatesOf, isChosen, type ServerEnd } from './path-candidates.ts'
import { type PathPolicyOptions, type PathPolicySettings, resolvePathPolicy } from './path-policy-options.ts'
import { ProbeBudget } from './probe-budget.ts'

/** What the policy acts on: a `QuicConnection`. */
export interface PathPolicyHost {
  readonly isClosed: boolean
  /** Paths that both sides allow at once. */
  readonly pathLimit: number
  /** The server as it was connected to, or moved to. */
  readonly server: ServerEnd
  paths(): readonly PathView[]
  announcedAddresses(): readonly ServerEnd[]
  openPath(options: OpenPathOptions): Promise<PathId>
  closePath(id: PathId): void
  setPathStatus(id: PathId, status: 'available' | 'backup'): void
  probeSilentPaths(): void
}

/** For tests. */
export interface PathPolicyParts {
  readonly list?: () => readonly LocalAddress[]
  readonly clock?: Clock
}

/** What became of one candidate. */
export interface PathPlan {
  readonly interfaceName: string
  readonly localAddress: string
  readonly remoteAddress: string
  readonly remotePort: number
  readonly state: 'waiting' | 'opening' | 'open'
  readonly pathId: PathId | undefined
  /** Failures and losses in a row; the next attempt waits the longer the more there are. */
  readonly troubles: number
  /** Milliseconds until the next attempt; undefined unless `waiting`. */
  readonly nextAttemptMs: number | undefined
  readonly lastError: Error | undefined
}

interface Entry {
  readonly candidate: Candidate
  state: 'waiting' | 'opening' | 'open'
  pathId: PathId | undefined
  /** A path that outlived its address and has not answered since: it ends when its successor is there. */
  predecessor: PathId | undefined
  isWanted: boolean
  /** Open although not wanted any more, because nothing else works. */
  isOrphan: boolean
  troubles: number
  openedAtMs: number
  retryAtMs: number
  isReserved: boolean
  lastError: Error | undefined
}

/** Troubles in a row after which a path comes back as a reserve only. */
const SHAKY_TROUBLES = 3
/** A path that lasts this long has left its troubles behind. */
const CALM_MS = 30_000
/** Candidates remembered; more are somebody changing addresses all the time. */
const ENTRIES_MAX = 128

export class PathPolicy {
  readonly #host: PathPolicyHost
  readonly #settings: PathPolicySettings
  readonly #clock: Clock
  readonly #watch: InterfaceWatch
  readonly #budget: ProbeBudget
  readonly #entries: Map<string, Entry> = new Map()
  /** Since when an address is there without interruption. */
  readonly #sinceMs: Map<string, number> = new Map()
  #wanted: readonly Entry[] = []
  #cancel: (() => void) | undefined
  #isStopped = false
  #isReviewing = false
  /** Told of attempts that failed, with what the policy will do about it. */
  onProblem: ((plan: PathPlan) => void) | null = null

  /** Begins at once. Throws ERR_CONFIG. */
  constructor(
    host: PathPolicyHost,
    options: PathPolicyOptions = {},
    { list, clock = systemClock }: PathPolicyParts = {},
  ) {
    this.#host = host
    this.#settings = resolvePathPolicy(options)
    this.#clock = clock
    this.#budget = new ProbeBudget(this.#settings.attemptsPerMinute, clock.nowMs())
    this.#watch = new InterfaceWatch({
      onChange: (changes) => {
        if (changes.some(({ kind }) => kind !== 'removed')) this.#host.probeSilentPaths()
        this.review()
      },
      pollMs: this.#settings.pollMs,
      clock,
      ...(list === undefined ? {} : { list }),
    })
    this.#watch.start()
    // What is there at the start has been there before.
    for (const local of this.#watch.addresses) this.#sinceMs.set(keyOf(local), -Infinity)
    this.review()
  }

  stop(): void {
    this.#isStopped = true
    this.#watch.stop()
    this.#cancel?.()
  }

  /** All candidates, best first. */
  plans(): readonly PathPlan[] {
    return this.#wanted.map((entry) => this.#planOf(entry))
  }

  /** A socket reported that its interface or address is gone: no need to wait for the next look. */
  onSendFailed(): void {
    if (!this.#isStopped) this.#watch.poll()
  }

  /** Looks at everything once more and acts; called whenever a path or an address of the server has changed. */
  review(): void {
    if (this.#isStopped || this.#isReviewing) return
    if (this.#host.isClosed) return this.stop()
    this.#isReviewing = true
    try {
      const now = this.#clock.nowMs()
      this.#noteAddresses(now)
      this.#choose()
      const views = this.#host.paths()
      let next = Infinity
      for (const entry of this.#entries.values()) next = Math.min(next, this.#follow(entry, views, now))
      for (const entry of this.#entries.values()) if (!entry.isWanted) this.#drop(entry, now)
      next = Math.min(next, this.#openDue(now), this.#restoreCalm(now))
      this.#forget(now)
      this.#arm(next, now)
    } finally {
      this.#isReviewing = false
    }
  }

  #noteAddresses(now: number): void {
    const present = new Set(this.#watch.addresses.map(keyOf))
    for (const key of present) if (!this.#sinceMs.has(key)) this.#sinceMs.set(key, now)
    for (const key of this.#sinceMs.keys()) if (!present.has(key)) this.#sinceMs.delete(key)
  }

  #choose(): void {
    const { interfaces, announced } = this.#settings
    const { server } = this.#host
    const isLocal = scopeOf(server.address) === 'loopback'
    const locals = this.#watch.addresses.filter((local) =>
      interfaces === 'auto' && isLocal ? local.isInternal : isChosen(local, interfaces),
    )
    const further = announced
      ? this.#host
          .announcedAddresses()
          .filter(({ address, port }) => mayFollow(server.address, address) && !isSame(server, { address, port }))
      : []
    const isOpen = (key: string): boolean => this.#entries.get(key)?.state === 'open'
    const candidates = candidatesOf(locals, [server, ...further], isOpen)
    for (const entry of this.#entries.values()) entry.isWanted = false
    this.#wanted = candidates.slice(0, ENTRIES_MAX / 2).map((candidate) => {
      const entry = this.#entries.get(candidate.key) ?? newEntry(candidate)
      entry.isWanted = true
      this.#entries.set(candidate.key, entry)
      return entry
    })
  }

  /** Brings an entry up to date with the path that belongs to it; returns when to look again. */
  #follow(entry: Entry, views: readonly PathView[], now: number): number {
    if (entry.state === 'opening') return Infinity
    const { localAddress, remoteAddress, remotePort } = entry.candidate
    const isTheirs = (view: PathView): boolean =>
      view.state !== 'abandoned' &&
      (view.id === entry.pathId ||
        (view.localAddress === localAddress &&
          view.remoteAddress === remoteAddress.replace(/%.*$/, '') &&
          view.remotePort === remotePort))
    const view = views.find((candidate) => candidate.id !== entry.predecessor && isTheirs(candidate))
    const old = views.find((candidate) => candidate.id === entry.predecessor && candidate.state !== 'abandoned')
    if (old === undefined) entry.predecessor = undefined
    if (view === undefined && old?.state === 'active') {
      this.#opened(entry, old.id, now)
      entry.predecessor = undefined
    } else if (view !== undefined && entry.state === 'waiting') this.#opened(entry, view.id, now)
    else if (view === undefined && entry.state === 'open') this.#troubled(entry, now)
    if (!entry.isOrphan || !entry.isWanted || entry.state !== 'open') return Infinity
    return this.#replaceIfSilent(entry, view, now)
  }

  /** The address of an orphan is back. A path that does not answer all the same gets a successor with a new socket. */
  #replaceIfSilent(entry: Entry, view: PathView | undefined, now: number): number {
    if (view?.state === 'active') {
      entry.isOrphan = false
      return Infinity
    }
    const stableAtMs = this.#stableAtMs(entry)
    if (stableAtMs > now) return stableAtMs
    entry.isOrphan = false
    entry.predecessor = entry.pathId
    entry.pathId = undefined
    entry.state = 'waiting'
    entry.retryAtMs = now
    return Infinity
  }

  #opened(entry: Entry, id: PathId, now: number): void {
    entry.state = 'open'
    entry.pathId = id
    entry.openedAtMs = now
  }

  /** The path of an entry is over, or could not be opened. */
  #troubled(entry: Entry, now: number): void {
    if (entry.state === 'open' && now - entry.openedAtMs > CALM_MS) entry.troubles = 0
    entry.state = 'waiting'
    entry.pathId = undefined
    entry.isOrphan = false
    entry.troubles++
    const { retryMs, retryMaxMs } = this.#settings
    entry.retryAtMs = now + Math.min(retryMaxMs, retryMs * 2 ** Math.min(entry.troubles - 1, 20))
  }

  /** Closes a path whose local address is gone or whose remote one was withdrawn, as soon as another one works. */
  #drop(entry: Entry, now: number): void {
    if (entry.state !== 'open' || entry.pathId === undefined) return
    if (!this.#worksWithout(entry.pathId)) {
      entry.isOrphan = true
      return
    }
    this.#close(entry.pathId)
    this.#troubled(entry, now)
  }

  #worksWithout(id: PathId | undefined): boolean {
    return this.#host.paths().some((view) => view.id !== id && view.isValidated && view.state === 'active')
  }

  #close(id: PathId): void {
    try {
      this.#host.closePath(id)
    } catch {
      // It has ended meanwhile, or is the last one.
    }
  }

  /** Opens what is due; returns when to look again. */
  #openDue(now: number): number {
    let next = Infinity
    const isDegraded = !this.#worksWithout(undefined)
    for (const entry of this.#wanted) {
      if (entry.state !== 'waiting') continue
      // Without a working path there is nothing to protect from an address that may not last.
      const dueAtMs = isDegraded ? entry.retryAtMs : Math.max(entry.retryAtMs, this.#stableAtMs(entry))
      if (dueAtMs > now) {
        next = Math.min(next, dueAtMs)
        continue
      }
      if (!this.#hasRoom() && !this.#makeRoom(entry)) continue
      if (!this.#budget.take(now)) return Math.min(next, this.#budget.nextAtMs(now))
      void this.#open(entry)
    }
    return next
  }

  #stableAtMs({ candidate }: Entry): number {
    const { interfaceName, localAddress: address } = candidate
    return (this.#sinceMs.get(keyOf({ interfaceName, address })) ?? 0) + this.#settings.stableMs
  }

  #hasRoom(): boolean {
    const limit = Math.min(this.#host.pathLimit, this.#settings.pathsMax)
    const open = this.#host.paths().filter((view) => view.state !== 'abandoned')
    // A path that is being opened may be among them already.
    const unseen = [...this.#entries.values()].filter(
      ({ state, candidate }) =>
        state === 'opening' &&
        !open.some(
          (view) => view.localAddress === candidate.localAddress && view.remoteAddress === candidate.remoteAddress,
        ),
    )
    return open.length + unseen.length < limit
  }

  /** An interface without any path goes before the second path of another one. */
  #makeRoom({ candidate }: Entry): boolean {
    const taken = [...this.#entries.values()].filter(({ state }) => state !== 'waiting')
    const of = (name: string): Entry[] => taken.filter((entry) => entry.candidate.interfaceName === name)
    if (of(candidate.interfaceName).length > 0) return false
    const extra = taken.findLast(
      (entry) => entry.state === 'open' && entry.candidate.rank > 0 && of(entry.candidate.interfaceName).length > 1,
    )
    if (extra?.pathId === undefined) return false
    this.#close(extra.pathId)
    extra.state = 'waiting'
    extra.pathId = undefined
    return true
  }

  async #open(entry: Entry): Promise<void> {
    const { interfaceName, remoteAddress, remotePort } = entry.candidate
    const scope = scopeOf(entry.candidate.localAddress)
    const localAddress = `${entry.candidate.localAddress}${scope === 'link' ? `%${interfaceName}` : ''}`
    entry.state = 'opening'
    entry.isReserved = entry.troubles >= SHAKY_TROUBLES
    const isBackup = entry.isReserved || this.#isBackup(interfaceName)
    const status = isBackup ? 'backup' : 'available'
    try {
      const device = scope === 'loopback' ? {} : { interfaceName }
      const id = await this.#host.openPath({ localAddress, remoteAddress, remotePort, status, ...device })
      this.#opened(entry, id, this.#clock.nowMs())
      entry.lastError = undefined
      if (entry.predecessor !== undefined) this.#close(entry.predecessor)
      entry.predecessor = undefined
    } catch (error) {
      this.#onFailed(entry, error instanceof Error ? error : new Error(String(error)))
    }
    this.review()
  }

  #onFailed(entry: Entry, error: Error): void {
    const now = this.#clock.nowMs()
    entry.lastError = error
    const code = error instanceof QuicError ? error.code : ''
    this.#troubled(entry, now)
    // Nobody's fault: there was no room, and there will be when a path ends.
    if (code === 'ERR_PATH_LIMIT') entry.troubles--
    if (this.#isStopped) return
    if (code === 'ERR_NO_MULTIPATH' || code === 'ERR_CONNECTION_CLOSED' || code === 'ERR_NOT_CLIENT') this.stop()
    this.onProblem?.(this.#planOf(entry))
  }

  #isBackup(interfaceName: string): boolean {
    return this.#settings.backup.some((name) => name !== '' && interfaceName.startsWith(name))
  }

  /** Paths that came back as a reserve carry data again after a while without trouble; returns when the next may. */
  #restoreCalm(now: number): number {
    let next = Infinity
    for (const entry of this.#entries.values()) {
      if (!entry.isReserved || entry.state !== 'open' || entry.pathId === undefined) continue
      const calmAtMs = entry.openedAtMs + CALM_MS
      if (calmAtMs > now) next = Math.min(next, calmAtMs)
      else {
        entry.isReserved = false
        entry.troubles = 0
        if (!this.#isBackup(entry.candidate.interfaceName)) this.#host.setPathStatus(entry.pathId, 'available')
      }
    }
    return next
  }

  /** Troubles of candidates that are gone are remembered until they are old, or too many. */
  #forget(now: number): void {
    for (const [key, { isWanted, state, retryAtMs }] of this.#entries) {
      if (isWanted || state !== 'waiting') continue
      if (now - retryAtMs > CALM_MS || this.#entries.size > ENTRIES_MAX) this.#entries.delete(key)
    }
  }

  #arm(atMs: number, now: number): void {
    this.#cancel?.()
    if (atMs === Infinity) this.#cancel = undefined
    else this.#cancel = this.#clock.after(atMs - now, this.#onTimer)
  }

  /** What is due may have lost its address since the last look. */
  readonly #onTimer = (): void => {
    this.#watch.poll()
    this.review()
  }

  #planOf({ candidate, state, pathId, troubles, retryAtMs, lastError }: Entry): PathPlan {
    const { interfaceName, localAddress, remoteAddress, remotePort } = candidate
    const nextAttemptMs = state === 'waiting' ? Math.max(0, retryAtMs - this.#clock.nowMs()) : undefined
    return { interfaceName, localAddress, remoteAddress, remotePort, state, pathId, troubles, nextAttemptMs, lastError }
  }
}

function newEntry(candidate: Candidate): Entry {
  return {
    candidate,
    state: 'waiting',
    pathId: undefined,
    predecessor: undefined,
    isWanted: true,
    isOrphan: false,
    troubles: 0,
    openedAtMs: 0,
    retryAtMs: -Infinity,
    isReserved: false,
    lastError: undefined,
  }
}

function keyOf({ interfaceName, address }: { readonly interfaceName: string; readonly address: string }): string {
  return `${interfaceName} ${address}`
}

function isSame(a: ServerEnd, b: ServerEnd): boolean {
  return a.address === b.address && a.port === b.port
}
