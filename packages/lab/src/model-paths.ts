/**
 * The model: what each side may do with its paths, kept from the packets that were really sent and received and from
 * what the application asked for. The engine's own view is compared with it; the model never asks the engine for advice.
 */
import type { Connection, Micros, PathTuple, PathView } from '@quicether/transport'
import type { AnnouncedCid, PacketFacts } from './model-frames.ts'
import type { Side } from './model-steps.ts'

/** `opened` -> `abandoned` -> `gone`; never back, and a path ID never twice (RFC 10069 §3.4). */
export type PathPhase = 'open' | 'abandoned' | 'gone'

/** One path ID as one side must see it. */
export class ModelPath {
  readonly id: number
  phase: PathPhase = 'open'
  /** Address pairs that a PATH_RESPONSE proved. */
  readonly proved: Set<string> = new Set()
  /** PATH_CHALLENGE data on the way -> the address pair it was sent over. */
  readonly challenges: Map<string, string> = new Map()
  largestSent = -1
  ownStatus: 'available' | 'backup' = 'available'
  heardStatus: 'available' | 'backup' = 'available'
  heardStatusSequence = -1
  abandonSent = false
  abandonHeardUs: Micros = Infinity
  hasFailed = false
  wasClosedByApp = false
  isProbedAgain = false

  constructor(id: number) {
    this.id = id
  }

  get isBackup(): boolean {
    return this.ownStatus === 'backup' || this.heardStatus === 'backup'
  }
}

/** Addresses of a tuple as text. */
export function pairOf(tuple: Pick<PathTuple, 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'>): string {
  return `${tuple.localAddress}:${tuple.localPort}-${tuple.remoteAddress}:${tuple.remotePort}`
}

export interface SideModelOptions {
  readonly side: Side
  readonly maxPaths: number
  /** Connection IDs that this side lets the peer give it, per path. */
  readonly activeCidLimit: number
  /** No round trip of this world is shorter. */
  readonly rttMinUs: Micros
  readonly now: () => Micros
  /** A server's address pair was proved by a PATH_RESPONSE. */
  readonly onProved?: (address: string, port: number) => void
}

/** What one side knows and may do, path by path. */
export class SideModel {
  readonly side: Side
  readonly paths: Map<number, ModelPath> = new Map()
  /** Connection IDs this side gave out. */
  readonly issued: Map<string, AnnouncedCid> = new Map()
  /** What must never be, in words; the first one ends the run. */
  readonly violations: string[] = []
  connection: Connection | undefined
  peer: SideModel | undefined
  /** Rules hold from here on: the handshake is confirmed on both sides. */
  isArmed = false
  readonly #options: SideModelOptions
  /** `path/sequence` of peer connection IDs that this side has retired. */
  readonly #retired: Set<string> = new Set()
  /** Connection ID in use -> the local address it was first used from. */
  readonly #usedFrom: Map<string, string> = new Map()
  /** Connection ID in use -> remote addresses it was used towards. */
  readonly #usedTowards: Map<string, Set<string>> = new Map()
  /** Remote address -> connection IDs of ours that packets from there carried. */
  readonly #heardFrom: Map<string, Set<string>> = new Map()
  /** PATH_STATUS frames for paths not open yet. */
  readonly #early: PacketFacts['statuses'][number][] = []
  readonly #observed: string[] = []
  readonly #told: string[] = []

  constructor(options: SideModelOptions) {
    this.side = options.side
    this.#options = options
    this.paths.set(0, new ModelPath(0))
  }

  #wrong(what: string): void {
    this.violations.push(`${this.side}: ${what}`)
  }

  openPaths(): ModelPath[] {
    return [...this.paths.values()].filter(({ phase }) => phase === 'open')
  }

  /** The handshake proved path 0 where it is now. */
  arm(): void {
    this.isArmed = true
    for (const view of this.connection?.paths() ?? []) this.paths.get(view.id)?.proved.add(pairOf(view))
  }

  // ---- what the application asked for

  /** `openPath` returned an ID. */
  onAppOpened(id: number): void {
    const { maxPaths } = this.#options
    // The engine says "opened" synchronously; the record is there already.
    if (this.paths.get(id)?.phase !== 'open') this.#wrong(`openPath gave path ID ${id}, which it did not open`)
    const open = this.openPaths().length
    if (open > maxPaths) this.#wrong(`${open} paths open, ${maxPaths} allowed`)
  }

  // ---- what the engine says happened

  /** A path event of the observer, in the moment it happens. */
  onPathEvent(id: number, change: string): void {
    this.#observed.push(`${id} ${change}`)
    const path = this.paths.get(id)
    if (change === 'opened') return this.#onOpened(id, path)
    if (path === undefined) return this.#wrong(`path ${id} ${change}, which was never opened`)
    if (path.phase !== 'open') return this.#wrong(`path ${id} ${change} although it is ${path.phase}`)
    if (change === 'failed') path.hasFailed = true
    if (change === 'validated') this.#onValidated(path)
    if (change === 'abandoned') {
      // RFC 10069 §3.4: by the application's wish, in answer to the peer, or because validation failed; never for fun.
      if (!path.wasClosedByApp && path.abandonHeardUs === Infinity && !path.hasFailed)
        this.#wrong(`path ${id} abandoned without a reason`)
      path.phase = 'abandoned'
    }
  }

  #onOpened(id: number, known: ModelPath | undefined): void {
    if (known !== undefined) return this.#wrong(`path ID ${id} used again, it is ${known.phase}`)
    if (this.side === 'server' && this.peer?.paths.get(id) === undefined)
      this.#wrong(`path ${id} opened, but the client never opened it`)
    const path = new ModelPath(id)
    this.paths.set(id, path)
    // RFC 10069 §3.3: a status may overtake the packet that opens its path
    for (const status of this.#early.splice(0)) this.#onStatus(status)
  }

  #onValidated(path: ModelPath): void {
    const view = this.#view(path.id)
    if (view !== undefined && !path.proved.has(pairOf(view)))
      this.#wrong(`path ${path.id} validated over ${pairOf(view)} without a PATH_RESPONSE to a challenge sent there`)
  }

  #view(id: number): PathView | undefined {
    return this.connection?.paths().find((view) => view.id === id)
  }

  /** The same event as the application gets it. */
  onAppEvent(id: number, change: string): void {
    this.#told.push(`${id} ${change}`)
  }

  // ---- what is on the wire

  /** A 1-RTT packet left this side over `tuple`, to connection ID `dcid`. */
  onSent(packet: PacketFacts, tuple: PathTuple, dcid: string): void {
    const { pathId: id } = packet
    const path = this.paths.get(id)
    if (path === undefined) return this.#wrong(`packet on path ${id}, which was never opened`)
    this.#noteSent(packet, path, pairOf(tuple))
    if (!this.isArmed) return
    if (path.phase !== 'open') return this.#wrong(`packet on path ${id}, which is ${path.phase}`)
    // RFC 10069 §2.4: path ID and packet number make the nonce.
    if (packet.packetNumber <= path.largestSent)
      this.#wrong(`packet number ${packet.packetNumber} of path ${id} after ${path.largestSent}`)
    path.largestSent = packet.packetNumber
    this.#checkCid(id, dcid, tuple)
    this.#checkPlace(packet, path, tuple)
  }

  #noteSent(packet: PacketFacts, path: ModelPath, pair: string): void {
    for (const data of packet.challenges) path.challenges.set(data, pair)
    for (const cid of packet.announced) this.issued.set(cid.cid, cid)
    for (const { pathId, sequence } of packet.retired) this.#retired.add(`${pathId}/${sequence}`)
    for (const id of packet.abandoned) {
      const about = this.paths.get(id)
      if (about === undefined) continue
      about.abandonSent = true
      if (about.phase === 'open') this.#wrong(`PATH_ABANDON for path ${id}, which is open`)
    }
  }

  #checkCid(id: number, dcid: string, tuple: PathTuple): void {
    const cid = this.peer?.issued.get(dcid)
    if (cid === undefined) return this.#wrong(`a packet to connection ID ${dcid}, which the peer never gave`)
    if (cid.pathId !== id) return this.#wrong(`a packet of path ${id} to a connection ID of path ${cid.pathId}`)
    // RFC 9000 §5.1.2: once retired, a connection ID is not used any more
    if (this.#retired.has(`${id}/${cid.sequence}`))
      this.#wrong(`path ${id} uses connection ID ${cid.sequence} after retiring it`)
    const local = `${tuple.localAddress}:${tuple.localPort}`
    const first = this.#usedFrom.get(dcid)
    // RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local address"
    if (first !== undefined && first !== local)
      this.#wrong(`connection ID ${cid.sequence} of path ${id} used from ${first} and from ${local}`)
    this.#usedFrom.set(dcid, local)
    this.#checkTowards(cid, tuple)
  }

  /**
   * RFC 9000 §9.5: nor towards more than one address, unless the peer itself kept its connection ID (a NAT rebound), or
   * moved there without leaving us another one.
   */
  #checkTowards(cid: AnnouncedCid, tuple: PathTuple): void {
    const remote = `${tuple.remoteAddress}:${tuple.remotePort}`
    const before = this.#usedTowards.get(cid.cid) ?? new Set<string>()
    const isNew = !before.has(remote)
    this.#usedTowards.set(cid.cid, before.add(remote))
    // Judged at the first packet; later ones tell nobody more.
    if (before.size < 2 || !isNew) return
    const here = this.#heardFrom.get(remote) ?? new Set()
    for (const other of before) {
      if (other === remote) continue
      const there = this.#heardFrom.get(other) ?? new Set()
      if ([...here].some((heard) => there.has(heard))) return
    }
    const isLast = this.connection?.core.multipath.registries.get(cid.pathId)?.spare.length === 0
    if (isLast && this.#view(cid.pathId)?.remotePort === tuple.remotePort) return
    this.#wrong(
      `connection ID ${cid.sequence} of path ${cid.pathId} used towards ${[...before].join(' and ')}, though the peer changed its own`,
    )
  }

  /** Data goes to proved addresses of the path alone, and not over a backup while an available path answers. */
  #checkPlace(packet: PacketFacts, path: ModelPath, tuple: PathTuple): void {
    const pair = pairOf(tuple)
    const views = this.connection?.paths() ?? []
    // RFC 9000 §9.3 allows data to a new address of the only path, within the anti-amplification limit.
    if (packet.hasData && views.length > 1 && !path.proved.has(pair))
      this.#wrong(`data on path ${path.id} over ${pair}, not proved`)
    const own = views.find((view) => view.id === path.id)
    if (own === undefined) return this.#wrong(`packet on path ${path.id}, which the engine does not list`)
    // RFC 9000 §9.1, §21.5.3: away from the path's own addresses only probing frames
    if (!packet.isProbing && pairOf(own) !== pair)
      this.#wrong(`non-probing packet on path ${path.id} over ${pair}, though the path is at ${pairOf(own)}`)
    // A path that has fallen silent is sent probe packets, with data inside.
    if (!packet.hasData || !path.isBackup || own.state === 'silent') return
    const better = views.find(
      (view) => view.id !== path.id && view.state === 'active' && this.paths.get(view.id)?.isBackup === false,
    )
    if (better !== undefined) this.#wrong(`data on path ${path.id}, a backup, while path ${better.id} is available`)
  }

  /** A datagram reached this side; seen before it is opened. */
  onHeard(remote: string, dcid: string): void {
    const heard = this.#heardFrom.get(remote) ?? new Set<string>()
    this.#heardFrom.set(remote, heard.add(dcid))
  }

  /** A 1-RTT packet was opened by this side for the first time; the engine has not acted on it yet. */
  onReceived(packet: PacketFacts): void {
    for (const data of packet.responses) this.#onResponse(data)
    for (const id of packet.abandoned) {
      const path = this.paths.get(id)
      if (path !== undefined && path.abandonHeardUs === Infinity) path.abandonHeardUs = this.#options.now()
    }
    for (const status of packet.statuses) this.#onStatus(status)
  }

  #onStatus(status: PacketFacts['statuses'][number]): void {
    const { pathId, available, sequence } = status
    const path = this.paths.get(pathId)
    if (path === undefined) return void this.#early.push(status)
    // RFC 10069 §4.3: older ones, and those for paths that are over, are ignored
    if (path.phase !== 'open' || sequence <= path.heardStatusSequence) return
    path.heardStatusSequence = sequence
    path.heardStatus = available ? 'available' : 'backup'
  }

  #onResponse(data: string): void {
    for (const path of this.paths.values()) {
      const pair = path.challenges.get(data)
      if (pair === undefined) continue
      path.proved.add(pair)
      const [address, port] = splitAddress(pair.slice(pair.indexOf('-') + 1))
      this.#options.onProved?.(address, port)
    }
  }

  // ---- the engine's view beside the model

  /** Compares what the engine shows with the model; to be called when all events have been told. */
  check(): void {
    const { connection } = this
    if (connection === undefined || !this.isArmed) return
    const views = connection.paths()
    const ids = new Set(views.map(({ id }) => id))
    if (ids.size !== views.length) this.#wrong(`path IDs ${views.map(({ id }) => id).join(' ')} listed twice`)
    for (const view of views) this.#checkView(view)
    for (const path of this.paths.values()) if (!ids.has(path.id)) this.#checkGone(path)
    const { maxPaths } = this.#options
    if (views.length > maxPaths) this.#wrong(`${views.length} paths kept, ${maxPaths} allowed`)
    this.#checkCidCounts(connection)
    const seen = this.#observed.splice(0).join(', ')
    const told = this.#told.splice(0).join(', ')
    if (seen !== told) this.#wrong(`the application was told [${told}], what happened was [${seen}]`)
  }

  #checkView(view: PathView): void {
    const path = this.paths.get(view.id)
    if (path === undefined || path.phase === 'gone')
      return this.#wrong(`the engine lists path ${view.id}, which is ${path?.phase ?? 'unknown'}`)
    if ((view.state === 'abandoned') !== (path.phase === 'abandoned'))
      return this.#wrong(`path ${view.id} is ${view.state}, the model says ${path.phase}`)
    if (path.phase !== 'open') return
    if (view.isValidated && !path.proved.has(pairOf(view)))
      this.#wrong(`path ${view.id} says it is validated over ${pairOf(view)}, which nothing proved`)
    if (view.isBackup !== path.isBackup)
      this.#wrong(`path ${view.id} ${view.isBackup ? 'is' : 'is not'} a backup, the model says otherwise`)
  }

  #checkGone(path: ModelPath): void {
    if (path.phase === 'gone') return
    if (path.phase === 'open') return this.#wrong(`path ${path.id} vanished while it was open`)
    path.phase = 'gone'
    // RFC 10069 §3.4: kept for 3 PTO after the peer's PATH_ABANDON; a PTO is longer than a round trip
    const keptUs = this.#options.now() - path.abandonHeardUs
    if (!(keptUs >= 3 * this.#options.rttMinUs))
      this.#wrong(`path ${path.id} forgotten ${keptUs} us after the PATH_ABANDON of the peer`)
  }

  #checkCidCounts({ core }: Connection): void {
    const { registries } = core.multipath
    const { maxPaths, activeCidLimit } = this.#options
    // Path IDs not in use yet have connection IDs, too: as many as may be open at once on the more generous side.
    const bound = Math.max(maxPaths, this.peer?.maxPaths ?? 0)
    if (registries.size > bound) this.#wrong(`connection IDs for ${registries.size} path IDs, ${bound} expected`)
    for (const [id, { local, spare, inUse, active }] of registries) {
      const theirs = spare.length + inUse.length + (active === undefined ? 0 : 1)
      if (theirs > activeCidLimit)
        this.#wrong(`path ${id}: ${theirs} connection IDs of the peer, ${activeCidLimit} allowed`)
      const limit = this.peer?.activeCidLimit ?? 0
      if (local.length > limit) this.#wrong(`path ${id}: ${local.length} connection IDs given, ${limit} allowed`)
    }
    if (core.paths.probes.length > 8 * core.paths.paths.length)
      this.#wrong(`${core.paths.probes.length} address pairs under validation`)
  }

  get maxPaths(): number {
    return this.#options.maxPaths
  }

  get activeCidLimit(): number {
    return this.#options.activeCidLimit
  }
}

function splitAddress(text: string): readonly [string, number] {
  const colon = text.lastIndexOf(':')
  return [text.slice(0, colon), Number(text.slice(colon + 1))]
}
