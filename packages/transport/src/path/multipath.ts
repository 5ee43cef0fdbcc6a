/** Several paths at once (RFC 10069): path IDs and their limits, opening, closing, status, and the frames about them. */
import { FrameType, TransportError, transportErrorCodes } from '@quicether/wire'
import type { CidRegistry } from '../cid/cid-registry.ts'
import type { ConnectionCore } from '../core.ts'
import { type Micros, NEVER, type PathTuple } from '../ports/datagrams.ts'
import { ReceiptKind } from '../recovery/sent-packets.ts'
import type { PacketWriter } from '../transmit/packet-writer.ts'
import { BlockedFrames } from './blocked.ts'
import type { Path } from './path.ts'
import { PathIds } from './path-ids.ts'
import { Takeover } from './takeover.ts'

/** Connection IDs kept with the peer for each path ID it does not use yet. */
const CIDS_PER_UNUSED_PATH = 1
const FRAME_ROOM = 24
/** RFC 10069 §2.1: path IDs are 32 bits. */
const PATH_ID_MAX = 0xffff_ffff

export type PathStatus = 'available' | 'backup'

/** Makes the parts that belong to a path ID. */
export interface MultipathHost {
  createRegistry(pathId: number): CidRegistry
  createPath(pathId: number, tuple: PathTuple, cids: CidRegistry): Path
  /** Releases what a path held outside the engine. */
  releasePath(path: Path): void
  onPathEvent(change: 'opened' | 'abandoned' | 'status', path: Path): void
}

export class Multipath {
  isNegotiated = false
  /** Highest path ID the peer may use; announced by us. */
  localMaxPathId = 0
  /** Highest path ID we may use. */
  peerMaxPathId = 0
  /** Connection IDs by path ID; path 0 is there from the start. */
  readonly registries: Map<number, CidRegistry> = new Map()
  readonly #core: ConnectionCore
  readonly #host: MultipathHost
  /** Path IDs that are over: never used again (RFC 10069 §3.4). */
  readonly #gone: PathIds = new PathIds()
  /** Path IDs abandoned before they were used, and when their connection IDs go. */
  readonly #leaving: Map<number, Micros> = new Map()
  /** What the peer said about paths that are not open yet; they take it over. */
  readonly #earlyStatus: Map<number, { readonly sequence: number; readonly status: PathStatus }> = new Map()
  readonly #blocked: BlockedFrames
  /** Where the server was when the handshake ended. */
  #handshakeTuple: PathTuple | undefined
  /** PATH_ABANDON frames to send: path ID -> error code. */
  readonly #abandonPending: Map<number, number> = new Map()
  /** Abandoned paths whose PATH_ABANDON the peer has not answered yet: path ID -> error code. */
  readonly #unanswered: Map<number, number> = new Map()
  readonly #statusPending: Set<number> = new Set()
  readonly #takeover: Takeover = new Takeover()
  readonly #onTold = (path: Path): void => this.#queueStatus(path)
  #maxPathIdPending = false

  constructor(core: ConnectionCore, host: MultipathHost) {
    this.#core = core
    this.#host = host
    this.#blocked = new BlockedFrames(this)
  }

  /** Both sides sent initial_max_path_id (RFC 10069 §2.1). */
  negotiate(localMaxPathId: number, peerMaxPathId: number): void {
    this.isNegotiated = true
    this.#handshakeTuple = this.#core.paths.primary.tuple
    this.localMaxPathId = localMaxPathId
    this.peerMaxPathId = peerMaxPathId
  }

  // RFC 10069 §3.2.1: "it is RECOMMENDED to proactively issue at least one Connection ID for each unused path ID up to the minimum of the peer's and the local maximum path ID limits"
  issueCids(): void {
    const highest = Math.min(this.localMaxPathId, this.peerMaxPathId)
    for (let id = this.#gone.firstFrom(1); id <= highest; id = this.#gone.firstFrom(id + 1)) {
      this.#registry(id).replenish(CIDS_PER_UNUSED_PATH)
    }
  }

  #registry(id: number): CidRegistry {
    let registry = this.registries.get(id)
    if (registry === undefined) {
      registry = this.#host.createRegistry(id)
      this.registries.set(id, registry)
    }
    return registry
  }

  // ---- opening

  /** Client: opens a path over `tuple`. Undefined when no path ID or connection ID is left; the peer is told. */
  open(tuple: PathTuple, status: PathStatus, nowUs: Micros): Path | undefined {
    const core = this.#core
    // RFC 10069 §3: "this extension only enables clients to open a new path"
    if (!this.isNegotiated || core.isServer || !core.handshakeConfirmed || this.isForbidden(tuple)) return undefined
    const highest = Math.min(this.localMaxPathId, this.peerMaxPathId)
    let lacking = -1
    // RFC 10069 §3.2.1: "endpoints SHOULD consume path IDs in a continuous way"
    for (let id = this.#gone.firstFrom(1); id <= highest; id = this.#gone.firstFrom(id + 1)) {
      if (core.paths.get(id) !== undefined) continue
      const registry = this.registries.get(id)
      // RFC 10069 §3: "when both endpoints have issued available connection IDs for at least one unused, common path ID"
      if (registry?.active === undefined || registry.local.length === 0) {
        if (lacking < 0) lacking = id
        continue
      }
      const path = this.#add(id, tuple, registry)
      // A client knows that the server's address is the server's: only the way is unproven.
      path.receivedBytes = 1e9
      // draft-piraux-quic-additional-addresses-03 §5: "A client MUST NOT send non-probing frames to an additional address prior to validating that address."
      path.isRemoteUnproven = !core.paths.hasProven(tuple)
      path.status = status
      if (status === 'backup') this.#queueStatus(path)
      core.paths.startValidation(path, nowUs)
      return path
    }
    // RFC 10069 §3.2.1: "it SHOULD either send a MAX_PATH_ID frame … or a PATHS_BLOCKED frame": where our own limit is the lower one, more paths are not wanted
    if (lacking >= 0) this.#blocked.onCids(lacking)
    else if (this.peerMaxPathId <= this.localMaxPathId) this.#blocked.onPaths()
    return undefined
  }

  // RFC 10069 §2.2: a disable_active_migration parameter forbids "to establish new paths to the peer's handshake address"
  /** Whether the server does not want further paths where `tuple` leads. */
  isForbidden(tuple: PathTuple): boolean {
    if (this.#core.peerParameters?.disableActiveMigration !== true) return false
    const { remoteAddress, remotePort } = this.#handshakeTuple as PathTuple
    return tuple.remoteAddress === remoteAddress && tuple.remotePort === remotePort
  }

  /** A path needs another connection ID of the peer and there is none: the peer is told (RFC 10069 §3.2.2). */
  onCidsMissing(id: number): void {
    if (this.isNegotiated) this.#blocked.onCids(id)
  }

  /** Next sequence number we expect for path `id` while it has no unused connection ID of the peer; else undefined. */
  missingSequence(id: number): number | undefined {
    const registry = this.registries.get(id)
    const isOver = this.#gone.isOver(id) || this.#core.paths.get(id)?.isAbandoned === true
    const isUnused = this.#core.paths.get(id) === undefined
    if (isOver || (registry?.spare.length ?? 0) > 0 || (isUnused && registry?.active !== undefined)) return undefined
    return registry?.nextPeerSequence ?? 0
  }

  /**
   * A packet came for a path ID not in use. It gets a path to be opened with; the path is dormant until a packet proves
   * to be the peer's (`onFirstPacket`). Undefined when the peer may not open it.
   */
  accept(id: number, tuple: PathTuple): Path | undefined {
    const registry = this.registries.get(id)
    if (!this.isNegotiated || !this.#core.isServer || this.#gone.isOver(id) || registry === undefined) return undefined
    const path = this.#host.createPath(id, tuple, registry)
    path.isDormant = true
    this.#core.paths.paths.push(path)
    return path
  }

  /** The first authentic packet of a dormant path: the peer opens it from `tuple`. */
  onFirstPacket(path: Path, tuple: PathTuple, nowUs: Micros): void {
    // The peer gave it up before any of its packets came: it stays closed (RFC 10069 §3.4).
    if (path.isAbandoned) return
    path.isDormant = false
    path.tuple = tuple
    this.#announce(path)
    // RFC 10069 §3.1: "the server MUST validate the peer's address before sending any data"
    this.#core.paths.startValidation(path, nowUs)
  }

  #add(id: number, tuple: PathTuple, registry: CidRegistry): Path {
    const path = this.#host.createPath(id, tuple, registry)
    this.#core.paths.paths.push(path)
    this.#announce(path)
    return path
  }

  #announce(path: Path): void {
    // RFC 10069 §3.2.1: "at least one additional connection ID for all used paths"
    path.cids.replenish(2)
    this.#host.onPathEvent('opened', path)
    // RFC 10069 §4.3: a status may come "before or during path initiation"
    const early = this.#earlyStatus.get(path.id)
    if (early === undefined) return
    this.#earlyStatus.delete(path.id)
    this.#setPeerStatus(path, early.status, early.sequence)
  }

  // ---- closing

  /** Abandons a path; what was in flight on it goes to the others at once. */
  close(id: number, code: number): void {
    const path = this.#core.paths.get(id)
    if (path === undefined || path.isAbandoned) return
    this.#abandon(path, code)
  }

  #abandon(path: Path, code: number): void {
    const core = this.#core
    // RFC 10069 §3.4: where it is the only open one the connection closes, over this path. One that is being validated, after a NAT rebinding for example, is open.
    if (core.paths.paths.every((other) => other === path || other.isAbandoned || other.isDormant)) {
      throw new TransportError('NO_VIABLE_PATH', FrameType.PathAbandon, 'the only open path was abandoned')
    }
    path.isAbandoned = true
    this.#blocked.forget(path.id)
    this.#abandonPending.set(path.id, code)
    this.#unanswered.set(path.id, code)
    path.recovery.loseAll(path.space)
    // RFC 10069 §3.4: "MUST treat all connection IDs received from the peer for the path ID … as immediately retired"
    path.cids.forgetPeer()
    core.paths.forgetProbes(path)
    // Nobody was told of a path that no authentic packet has opened.
    if (!path.isDormant) this.#host.onPathEvent('abandoned', path)
    // Kept so that packets under way are recognised and acknowledged. Until the peer's own PATH_ABANDON comes it may send
    // here, and trusts the stateless resets that an unknown connection ID would draw (RFC 10069 §3.4).
    path.deleteAtUs = NEVER
  }

  /** PATH_ABANDON from the peer: answered in kind (RFC 10069 §3.4). */
  onAbandon(id: number, _code: number, nowUs: Micros): void {
    this.#checkId(id, FrameType.PathAbandon)
    const path = this.#core.paths.get(id)
    if (path === undefined) {
      if (!this.#gone.isOver(id)) this.#onUnusedAbandoned(id, nowUs)
      return
    }
    if (!path.isAbandoned) this.#abandon(path, transportErrorCodes.NO_ERROR)
    this.#unanswered.delete(id)
    path.deleteAtUs = nowUs + 3 * this.#core.paths.largestPtoUs()
  }

  /**
   * A probe timeout expired on some path. A peer that acknowledges everything on the path we have abandoned is not heard,
   * so a lost PATH_ABANDON would never be found lost: it goes into the probes until the peer answers.
   * A peer that was told to keep off the silent path is told again, so that it looks after it.
   */
  onProbeTimeout(path: Path): void {
    if (path.toldStatus === 'backup') this.#queueStatus(path)
    for (const [id, code] of this.#unanswered) this.#abandonPending.set(id, code)
  }

  /** RFC 10069 §3.4: abandoning a path ID that was never used "is not an error". */
  #onUnusedAbandoned(id: number, nowUs: Micros): void {
    this.#abandonPending.set(id, transportErrorCodes.NO_ERROR)
    this.#end(id)
    this.#registry(id).forgetPeer()
    // RFC 10069 §3.4: packets sent before may be under way; our connection IDs are known "for 3 PTO after the PATH_ABANDON frame has been received"
    this.#leaving.set(id, nowUs + 3 * this.#core.paths.largestPtoUs())
  }

  #end(id: number): void {
    this.#gone.end(id)
    this.#earlyStatus.delete(id)
    this.#blocked.forget(id)
  }

  #retireId(id: number): void {
    this.registries.get(id)?.close()
    this.registries.delete(id)
    this.#end(id)
    // A path ID that is over makes room for another one.
    if (this.localMaxPathId < PATH_ID_MAX) {
      this.localMaxPathId++
      this.#maxPathIdPending = true
      if (this.#core.handshakeConfirmed) this.issueCids()
    }
  }

  nextTimeoutUs(): Micros {
    let next = NEVER
    for (const path of this.#core.paths.paths) next = Math.min(next, path.deleteAtUs)
    for (const deleteAtUs of this.#leaving.values()) next = Math.min(next, deleteAtUs)
    return next
  }

  /** Forgets abandoned paths whose time is over. */
  onTimeout(nowUs: Micros): void {
    const { paths } = this.#core.paths
    for (let i = paths.length - 1; i >= 0; i--) {
      const path = paths[i] as Path
      if (path.deleteAtUs > nowUs) continue
      paths.splice(i, 1)
      this.#host.releasePath(path)
      this.#retireId(path.id)
    }
    for (const [id, deleteAtUs] of this.#leaving) {
      if (deleteAtUs > nowUs) continue
      this.#leaving.delete(id)
      this.#retireId(id)
    }
  }

  // ---- status

  /** Tells the peer how we would like it to use the path (RFC 10069 §3.3). */
  setStatus(id: number, status: PathStatus): void {
    const path = this.#core.paths.get(id)
    // RFC 10069 §2.1: its frames may only be sent once both sides have offered the extension
    if (!this.isNegotiated || path === undefined || path.isAbandoned || path.status === status) return
    path.status = status
    path.toldStatus = undefined
    this.#queueStatus(path)
  }

  // RFC 10069 §3.3: "it is RECOMMENDED to update its own path state signaling such that the peer avoids using the broken path"
  /** A backup path takes over, or may rest again: the peer is told. Called before each train. */
  reviewStatus(): void {
    if (this.isNegotiated) this.#takeover.review(this.#core.paths.paths, this.#onTold)
  }

  #queueStatus(path: Path): void {
    path.statusSequence++
    this.#statusPending.add(path.id)
  }

  onStatus(id: number, isAvailable: boolean, sequence: number): void {
    this.#checkId(id, FrameType.PathStatusAvailable)
    const status = isAvailable ? 'available' : 'backup'
    const path = this.#core.paths.get(id)
    if (path === undefined || path.isDormant) {
      // RFC 10069 §4.3: "All path IDs below the maximum path ID limit can be indicated, even if the path is not in active use yet"
      if (this.#gone.isOver(id) || sequence <= (this.#earlyStatus.get(id)?.sequence ?? -1)) return
      this.#earlyStatus.set(id, { sequence, status })
    } else if (!path.isAbandoned) this.#setPeerStatus(path, status, sequence)
  }

  #setPeerStatus(path: Path, status: PathStatus, sequence: number): void {
    // RFC 10069 §4.3: older or equal sequence numbers MUST be ignored
    if (sequence <= path.peerStatusSequence) return
    path.peerStatusSequence = sequence
    // It may be broken in the peer's eyes only: after a NAT has forgotten it, a packet of ours is what mends it.
    if (status === 'backup' && path.isUsable() && !path.isSuspect())
      path.space.probesPending = Math.max(1, path.space.probesPending)
    if (path.peerStatus === status) return
    path.peerStatus = status
    this.#host.onPathEvent('status', path)
  }

  // ---- limits

  onMaxPathId(limit: number): void {
    // RFC 10069 §4.6: "MUST NOT be lower than the value advertised in the initial_max_path_id transport parameter"
    if (limit < (this.#core.peerParameters?.initialMaxPathId ?? 0)) {
      throw new TransportError(
        'PROTOCOL_VIOLATION',
        FrameType.MaxPathId,
        `MAX_PATH_ID ${limit} below the initial limit`,
      )
    }
    if (limit <= this.peerMaxPathId) return
    this.peerMaxPathId = limit
    if (this.#core.handshakeConfirmed) this.issueCids()
  }

  onPathsBlocked(limit: number): void {
    this.#checkId(limit, FrameType.PathsBlocked)
  }

  onCidsBlocked(id: number, nextSequence: number): void {
    this.#checkId(id, FrameType.PathCidsBlocked)
    if (this.#isBeyondUse(id)) return
    // RFC 10069 §4.7: "Receipt of a value of Next Sequence Number that is higher than the sequence number of the next expected to be issued connection ID for this path MUST be treated as a connection error of type PROTOCOL_VIOLATION"
    if (nextSequence > (this.registries.get(id)?.nextLocalSequence ?? 0)) {
      throw new TransportError(
        'PROTOCOL_VIOLATION',
        FrameType.PathCidsBlocked,
        `sequence ${nextSequence} was never issued`,
      )
    }
  }

  // RFC 10069 §4: "a path ID that is greater than the announced Maximum Paths value … MUST be treated as a connection error of type PROTOCOL_VIOLATION"
  #checkId(id: number, frameType: number): void {
    if (id > this.localMaxPathId) {
      throw new TransportError('PROTOCOL_VIOLATION', frameType, `path ID ${id} above the limit ${this.localMaxPathId}`)
    }
  }

  /** Registry for a frame about path `id`; undefined when the path is over and the frame must be ignored. */
  registryFor(id: number, frameType: number): CidRegistry | undefined {
    this.#checkId(id, frameType)
    return this.#isBeyondUse(id) ? undefined : this.#registry(id)
  }

  // RFC 10069 §4: a frame with a path ID that cannot be processed any more "MUST silently ignore": abandoned paths, too: a connection ID that comes late would bring back a reset token
  #isBeyondUse(id: number): boolean {
    return this.#gone.isOver(id) || this.#core.paths.get(id)?.isAbandoned === true
  }

  // RFC 10069 §3.2.1: connection IDs "are unique for the scope of the connection, regardless of the associated path ID"
  /** The peer issues `cid` for path `id`. Throws when another path ID has it. */
  checkUnique(id: number, cid: Uint8Array): void {
    for (const registry of this.registries.values()) {
      if (registry.pathId === id || !registry.hasPeerCid(cid)) continue
      throw new TransportError(
        'PROTOCOL_VIOLATION',
        FrameType.PathNewConnectionId,
        `a connection ID of path ${registry.pathId} is issued again for path ${id}`,
      )
    }
  }

  /** Path whose packets a PATH_ACK acknowledges; undefined when it is over. */
  pathForAck(id: number): Path | undefined {
    this.#checkId(id, FrameType.PathAck)
    return this.#core.paths.get(id)
  }

  // ---- frames

  hasPending(): boolean {
    return (
      this.#abandonPending.size > 0 ||
      this.#statusPending.size > 0 ||
      this.#maxPathIdPending ||
      this.#blocked.hasPending()
    )
  }

  write(packet: PacketWriter): void {
    for (const [id, code] of this.#abandonPending) {
      if (packet.room < FRAME_ROOM) return
      this.#abandonPending.delete(id)
      packet.varint(FrameType.PathAbandon)
      packet.varint(id)
      packet.varint(code)
      packet.receipt(ReceiptKind.PathAbandon, id, code)
    }
    for (const id of this.#statusPending) {
      if (packet.room < FRAME_ROOM) return
      this.#statusPending.delete(id)
      const path = this.#core.paths.get(id)
      if (path === undefined || path.isAbandoned) continue
      packet.varint(
        (path.toldStatus ?? path.status) === 'available' ? FrameType.PathStatusAvailable : FrameType.PathStatusBackup,
      )
      packet.varint(id)
      packet.varint(path.statusSequence)
      packet.receipt(ReceiptKind.PathStatus, id, path.statusSequence)
    }
    this.#writeLimits(packet)
  }

  #writeLimits(packet: PacketWriter): void {
    if (this.#maxPathIdPending && packet.room >= FRAME_ROOM) {
      this.#maxPathIdPending = false
      packet.varint(FrameType.MaxPathId)
      packet.varint(this.localMaxPathId)
      packet.receipt(ReceiptKind.MaxPathId)
    }
    this.#blocked.write(packet)
  }

  /** A packet with one of our frames was lost: what still holds is said again. */
  onLost(kind: number, a: number, b: number): void {
    if (kind === ReceiptKind.PathAbandon) this.#abandonPending.set(a, b)
    else if (kind === ReceiptKind.MaxPathId) this.#maxPathIdPending = true
    else if (kind === ReceiptKind.PathsBlocked) this.#blocked.onPathsLost(a)
    else if (kind === ReceiptKind.PathCidsBlocked) this.#blocked.onCidsLost(a, b)
    else if (kind === ReceiptKind.PathStatus && this.#core.paths.get(a)?.statusSequence === b)
      this.#statusPending.add(a)
  }
}
