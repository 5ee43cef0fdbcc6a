/** Opens, validates and moves paths: NAT rebinding, migration, preferred address. The only writer of path state. */
import type { PeerCid } from '../cid/cid-registry.ts'
import type { EventQueue } from '../event-queue.ts'
import { type Micros, NEVER, type PathTuple, sameTuple } from '../ports/datagrams.ts'
import type { Path } from './path.ts'
import { PathProbe } from './path-probe.ts'

/** Address tuples of one path looked at besides the active one. More are an attack; the oldest idle one makes room. */
export const PROBES_MAX = 8

/** What the manager needs to know of the connection. */
export interface PathManagerHost {
  readonly isServer: boolean
  readonly maxAckDelayUs: Micros
  isHandshakeConfirmed(): boolean
  /** The peer asked us not to migrate, or the handshake's remote address may not change. */
  isMigrationForbidden(): boolean
  onPathEvent(change: string, path: Path): void
  /** A path that is not the first one could not be validated. */
  onPathUnreachable(path: Path, nowUs: Micros): void
}

/** Receive windows are never sized for less than this: programs do not look at their sockets more often. */
const WINDOW_RTT_MIN_US = 500

export class PathManager {
  readonly paths: Path[] = []
  readonly probes: PathProbe[] = []
  readonly #host: PathManagerHost
  readonly #events: EventQueue
  migrations = 0
  rebindings = 0

  constructor(host: PathManagerHost, events: EventQueue) {
    this.#host = host
    this.#events = events
  }

  /** The path of the handshake, path 0; once that is abandoned, the first one that is not. */
  get primary(): Path {
    const first = this.paths[0] as Path
    if (!first.isAbandoned) return first
    return this.usable() ?? this.paths.find((path) => !path.isAbandoned) ?? first
  }

  /** Whether a path other than `path` works. */
  hasAlternative(path: Path): boolean {
    for (const other of this.paths) if (other !== path && other.isUsable() && !other.isSuspect()) return true
    return false
  }

  /** A path that may carry data; undefined when none may. */
  usable(): Path | undefined {
    return this.paths.find((path) => path.isUsable())
  }

  /**
   * Whether application data may go on `path` now. Backup paths wait until no available one works; paths that have
   * fallen silent wait until no other works (RFC 10069 §3.3).
   */
  mayCarryData(path: Path): boolean {
    if (this.paths.length === 1) return true
    if (!path.isUsable()) return path.id === 0 && !this.#host.isHandshakeConfirmed()
    const rank = rankOf(path)
    if (rank === 0) return true
    for (const other of this.paths) if (other.isUsable() && rankOf(other) < rank) return false
    return true
  }

  /** Whether the remote end of `tuple` is known to be the peer: an open path leads there. */
  hasProven({ remoteAddress, remotePort }: PathTuple): boolean {
    return this.paths.some(
      ({ tuple, isValidated }) =>
        isValidated && tuple.remoteAddress === remoteAddress && tuple.remotePort === remotePort,
    )
  }

  /**
   * The kernel has no way for datagrams from `tuple`: its path counts as silent until something comes back, so that others
   * carry what it had in flight at once. It is probed on. Nothing changes when it is the only one that works.
   */
  onSendFailed(tuple: PathTuple): void {
    for (const path of this.paths) {
      if (path.isAbandoned || path.isSuspect() || !sameTuple(path.tuple, tuple) || !this.hasAlternative(path)) continue
      const { recovery, space } = path
      recovery.ptoCount = 1
      recovery.isSpare = true
      recovery.requeue(space, NEVER, Infinity)
      // Only a packet in flight keeps the probes going.
      space.probesPending = Math.max(1, space.probesPending)
    }
  }

  /** The network has changed: silent paths are probed now, and their back-off begins anew. */
  probeSilent(): void {
    for (const { isAbandoned, recovery, space } of this.paths) {
      if (isAbandoned || recovery.ptoCount === 0) continue
      recovery.ptoCount = 1
      space.probesPending = Math.max(1, space.probesPending)
    }
  }

  /** Validates the tuple of a path that has just been opened. */
  startValidation(path: Path, nowUs: Micros): void {
    const probe = this.#addProbe(path, path.tuple, 'active')
    probe.start(path.ptoUs(this.#host.maxAckDelayUs), nowUs)
  }

  forgetProbes(path: Path): void {
    for (let i = this.probes.length - 1; i >= 0; i--) if (this.probes[i]?.path === path) this.probes.splice(i, 1)
  }

  get(pathId: number): Path | undefined {
    return this.paths[0]?.id === pathId ? this.paths[0] : this.paths.find((path) => path.id === pathId)
  }

  /** Bytes that all open paths together carry during one round trip of the slowest one. */
  pipeBytes(): number {
    const { paths } = this
    if (paths.length === 1) return (paths[0] as Path).recovery.congestion.windowBytes
    let slowestUs = 0
    for (const path of paths) {
      if (path.isUsable() && path.rtt.isKnown) slowestUs = Math.max(slowestUs, path.rtt.smoothedUs)
    }
    let sum = 0
    for (const path of paths) {
      if (path.isAbandoned) continue
      sum += path.recovery.congestion.windowBytes * Math.max(1, slowestUs / path.rtt.smoothedUs)
    }
    return Math.ceil(sum)
  }

  /**
   * Round trip that receive windows are sized by. With one path what the way takes when nothing queues: measured with the
   * queue, windows would grow with the queue and the queue with the windows. With several, data waits for the slowest.
   */
  windowRttUs(path: Path): Micros {
    if (this.paths.length > 1) return this.#slowestRttUs(path)
    return Math.max(Math.min(path.rtt.leastUs, path.rtt.smoothedUs), WINDOW_RTT_MIN_US)
  }

  /** Largest RTT among the paths that work, that of `path` included. */
  #slowestRttUs(path: Path): Micros {
    let slowestUs = path.rtt.smoothedUs
    for (const other of this.paths) {
      if (other.isUsable() && other.rtt.isKnown) slowestUs = Math.max(slowestUs, other.rtt.smoothedUs)
    }
    return slowestUs
  }

  /** Largest PTO of all paths: closing, draining and key updates wait for the slowest (RFC 10069 §2.5, §2.6). */
  largestPtoUs(): Micros {
    let largest = 0
    for (const path of this.paths) largest = Math.max(largest, path.ptoUs(this.#host.maxAckDelayUs))
    return largest
  }

  /** Whether a datagram for `path` from `tuple` may be looked at, and where its bytes count. */
  admit(path: Path, tuple: PathTuple, bytes: number): boolean {
    if (sameTuple(path.tuple, tuple)) {
      path.receivedBytes += bytes
      return true
    }
    if (!this.#host.isServer) return this.#admitAtClient(path, tuple, bytes)
    // RFC 9000 §9: "An endpoint MUST NOT initiate connection migration before the handshake is confirmed"
    if (!this.#host.isHandshakeConfirmed()) {
      // A NAT may rebind during the handshake; without validation of the new tuple nothing may be sent there.
      return false
    }
    // Packets under way to an abandoned path are read, wherever they come from; nothing goes back there.
    if (path.isAbandoned) return true
    const probe = this.#probeFor(path, tuple) ?? this.#addProbe(path, tuple, 'answer')
    probe.receivedBytes += bytes
    return true
  }

  // RFC 9000 §9: "If a client receives packets from an unknown server address, the client MUST discard these packets."
  #admitAtClient(path: Path, tuple: PathTuple, bytes: number): boolean {
    const probe = this.#probeFor(path, tuple)
    if (probe !== undefined) {
      probe.receivedBytes += bytes
      return true
    }
    const { remoteAddress, remotePort } = path.tuple
    if (tuple.remoteAddress !== remoteAddress || tuple.remotePort !== remotePort) return false
    path.receivedBytes += bytes
    return true
  }

  #probeFor(path: Path, tuple: PathTuple): PathProbe | undefined {
    for (const probe of this.probes) if (probe.path === path && sameTuple(probe.tuple, tuple)) return probe
    return undefined
  }

  #addProbe(path: Path, tuple: PathTuple, purpose: PathProbe['purpose']): PathProbe {
    const own = this.probes.filter((probe) => probe.path === path)
    if (own.length >= PROBES_MAX) {
      // RFC 9000 §9.3.2: without "state about the last validated peer address" the connection would be lost: that one stays.
      const others = own.filter((probe) => probe.purpose !== 'fallback' || !probe.isValidated)
      const idle = others.find((probe) => !probe.isValidating() || probe.purpose === 'answer')
      this.#removeProbe(idle ?? others[0] ?? (own[0] as PathProbe))
    }
    const probe = new PathProbe(path, tuple, purpose)
    this.probes.push(probe)
    return probe
  }

  #removeProbe(probe: PathProbe): void {
    const index = this.probes.indexOf(probe)
    if (index >= 0) this.probes.splice(index, 1)
    if (probe.cid !== undefined) probe.path.cids.retire(probe.cid)
    probe.cid = undefined
  }

  /** PATH_CHALLENGE arrived in a datagram on `tuple`: the response goes back there (RFC 9000 §8.2.2). */
  onChallenge(path: Path, tuple: PathTuple, data: Uint8Array, localSequence = path.cids.heard): void {
    // RFC 10069 §3.4: nothing is sent on an abandoned path any more
    if (path.isAbandoned) return
    const isActive = sameTuple(path.tuple, tuple)
    let probe = this.#probeFor(path, tuple)
    if (probe === undefined) {
      probe = this.#addProbe(path, tuple, isActive ? 'active' : 'answer')
      // A client knows that the server's address is the server's: no amplification limit there.
      probe.isValidated = !this.#host.isServer || (isActive && path.isValidated)
      if (isActive) probe.receivedBytes = path.receivedBytes
      if (isActive) probe.sentBytes = path.sentBytes
    }
    probe.isApart = localSequence !== path.cids.heard
    probe.onChallenge(data)
  }

  /** PATH_RESPONSE arrived. It may come over any path (RFC 9000 §8.2.3). */
  onResponse(bytes: Uint8Array, start: number, nowUs: Micros): void {
    const probe = this.probes.find((candidate) => candidate.matches(bytes, start))
    if (probe === undefined) return
    const { path } = probe
    const delayUs = probe.delayUs(bytes, start, nowUs)
    probe.isValidated = true
    probe.stop()
    if (sameTuple(probe.tuple, path.tuple)) {
      const isNews = !path.isValidated
      path.rtt.assume(delayUs)
      path.isValidated = true
      path.mtu.start()
      if (isNews) this.#notify(path, 'validated')
      this.#dropFallbacks(path)
      if (!probe.provesMtu(bytes, start)) this.#validateAgain(path, probe, nowUs)
      return
    }
    if (probe.purpose !== 'migrate') return
    if (this.#hasCid(probe)) return this.#completeMigration(path, probe, delayUs, nowUs)
    // RFC 9000 §9.5: the connection ID of the old address must not be used from the new one.
    this.#removeProbe(probe)
    this.#notify(path, 'failed')
  }

  // RFC 9000 §8.2.1: a challenge that the anti-amplification limit kept small validates the address only: "the endpoint MUST perform a second path validation by sending a PATH_CHALLENGE frame in a datagram of at least 1200 bytes"
  #validateAgain(path: Path, probe: PathProbe, nowUs: Micros): void {
    probe.start(path.ptoUs(this.#host.maxAckDelayUs), nowUs)
    probe.isValidated = true
    probe.isForMtu = true
  }

  /** A packet whose number is the largest so far, with a non-probing frame, came from `tuple`: the peer has moved. */
  onNonProbing(path: Path, tuple: PathTuple, packetNumber: number, localSequence: number, nowUs: Micros): void {
    if (packetNumber <= path.largestNonProbing) return
    path.largestNonProbing = packetNumber
    const { heard } = path.cids
    path.cids.heard = localSequence
    const changedCid = heard >= 0 && heard !== localSequence
    // RFC 10069 §3.4: packets under way to an abandoned path are acknowledged, nothing more
    if (sameTuple(path.tuple, tuple) || path.isAbandoned) return
    if (!this.#host.isServer) return this.#onClientRebound(path, tuple)
    this.#onPeerMoved(path, tuple, changedCid, heard, nowUs)
  }

  /** Our own local address was seen to differ (wildcard socket): nothing the peer did. */
  #onClientRebound(path: Path, tuple: PathTuple): void {
    const { remoteAddress, remotePort, localAddress, localPort, socket } = path.tuple
    // RFC 9000 §9.5: packets under way to an address or socket that we have left must not lead us back there with the new CID.
    if (tuple.socket !== socket || tuple.localPort !== localPort || !isUnspecified(localAddress)) return
    if (tuple.remoteAddress === remoteAddress && tuple.remotePort === remotePort) path.tuple = tuple
  }

  // RFC 9000 §9.3: "Receiving a packet from a new peer address containing a non-probing frame indicates that the peer has migrated to that address."
  #onPeerMoved(path: Path, tuple: PathTuple, changedCid: boolean, heard: number, nowUs: Micros): void {
    const probe = this.#probeFor(path, tuple) ?? this.#addProbe(path, tuple, 'active')
    const wasValidated = probe.isValidated
    const old = path.tuple
    const oldWasValidated = path.isValidated
    const isPortOnly = old.remoteAddress === tuple.remoteAddress && old.localAddress === tuple.localAddress
    probe.purpose = 'active'
    this.#handOver(path)
    path.moveTo(tuple, wasValidated, isPortOnly, nowUs)
    path.receivedBytes = probe.receivedBytes
    path.sentBytes = probe.sentBytes
    this.rebindings++
    // RFC 9000 §9.5: an endpoint that sees a new CID from a new address SHOULD use a new CID itself
    const leftCid = changedCid ? this.#exchangeCid(path, probe) : undefined
    // What else is looked at was reached with a CID that is not ours to use any more, or is not the one in use now.
    if (changedCid) for (const other of this.probes) if (other.path === path && other !== probe) other.isApart = true
    // RFC 9000 §9.3: "an endpoint MUST perform path validation if it detects any change to a peer's address, unless it has previously validated that address"
    if (!wasValidated) probe.start(path.ptoUs(this.#host.maxAckDelayUs), nowUs)
    else path.mtu.start()
    // RFC 9000 §9.3.3: "an endpoint MUST also validate the previously active path" (off-path attacker)
    if (!wasValidated && oldWasValidated) {
      const fallback = this.#keepAsFallback(path, old, leftCid, nowUs)
      fallback.isApart = changedCid
      fallback.heard = heard
    } else if (leftCid !== undefined) path.cids.retire(leftCid)
    this.#notify(path, isPortOnly ? 'rebound' : 'migrated')
  }

  #adoptCid(path: Path, probe: PathProbe): void {
    const old = this.#exchangeCid(path, probe)
    if (old !== undefined) path.cids.retire(old)
  }

  /** The path goes on with the CID of the probe or a spare one; returns the one it had, undefined when it keeps it. */
  #exchangeCid(path: Path, probe: PathProbe): PeerCid | undefined {
    const { cids } = path
    const index = probe.cid === undefined ? -1 : cids.inUse.indexOf(probe.cid)
    const next = index < 0 ? cids.takeSpare() : cids.inUse[index]
    probe.cid = undefined
    if (next === undefined) return undefined
    if (index >= 0) cids.inUse.splice(index, 1)
    const old = cids.active
    cids.active = next
    return old
  }

  /** The tuple just left is looked at as well; with the CID used there until now when the peer has changed its own. */
  #keepAsFallback(path: Path, tuple: PathTuple, cid: PeerCid | undefined, nowUs: Micros): PathProbe {
    const fallback = this.#probeFor(path, tuple) ?? this.#addProbe(path, tuple, 'fallback')
    fallback.purpose = 'fallback'
    fallback.start(path.ptoUs(this.#host.maxAckDelayUs), nowUs)
    fallback.isValidated = true
    if (cid === undefined) return fallback
    if (fallback.cid !== undefined) path.cids.retire(cid)
    else {
      fallback.cid = cid
      path.cids.inUse.push(cid)
    }
    return fallback
  }

  #dropFallbacks(path: Path): void {
    for (let i = this.probes.length - 1; i >= 0; i--) {
      const probe = this.probes[i] as PathProbe
      if (probe.path === path && probe.purpose === 'fallback') this.#removeProbe(probe)
    }
  }

  /** Client: moves to `tuple` once it is validated. Returns false when no unused CID of the peer is left. */
  migrate(path: Path, tuple: PathTuple, nowUs: Micros): boolean {
    if (this.#host.isMigrationForbidden() || !this.#host.isHandshakeConfirmed()) return false
    return this.#probe(path, tuple, nowUs)
  }

  /** Client: moves to the server's preferred address (RFC 9000 §9.6). */
  // RFC 9000 §9.6.2: the client validates the address it chooses before it moves; the server answers from the address a packet came to
  // RFC 9000 §9.6.3: a client that migrates meanwhile abandons neither: each tuple is validated on its own
  usePreferredAddress(path: Path, tuple: PathTuple, nowUs: Micros): boolean {
    return this.#probe(path, tuple, nowUs)
  }

  #probe(path: Path, tuple: PathTuple, nowUs: Micros): boolean {
    if (sameTuple(path.tuple, tuple)) return true
    let probe = this.#probeFor(path, tuple)
    if (probe === undefined) {
      // RFC 9000 §21.5.3: nothing but probing frames goes to an address before it is validated
      // RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local address"
      const cid = path.cids.takeSpare()
      if (cid === undefined) return false
      probe = this.#addProbe(path, tuple, 'migrate')
      probe.cid = cid
      path.cids.inUse.push(cid)
    }
    probe.purpose = 'migrate'
    // A client may send to the server's addresses without limit: it knows that they are the server's.
    probe.receivedBytes = Math.max(probe.receivedBytes, 1_000_000)
    probe.start(path.ptoUs(this.#host.maxAckDelayUs), nowUs)
    return true
  }

  #completeMigration(path: Path, probe: PathProbe, delayUs: Micros, nowUs: Micros): void {
    this.#adoptCid(path, probe)
    const left = this.#probeFor(path, path.tuple)
    if (left !== undefined) left.purpose = 'answer'
    path.moveTo(probe.tuple, true, false, nowUs)
    path.rtt.assume(delayUs)
    path.mtu.start()
    probe.purpose = 'active'
    this.migrations++
    this.#notify(path, 'migrated')
  }

  /** Earliest timer of all validations. */
  nextTimeoutUs(): Micros {
    let next = NEVER
    for (const probe of this.probes) next = Math.min(next, probe.nextTimeoutUs())
    return next
  }

  /** Repeats challenges and gives up validations. */
  onTimeout(nowUs: Micros): void {
    for (let i = this.probes.length - 1; i >= 0; i--) {
      const probe = this.probes[i] as PathProbe
      if (probe.repeatAtUs <= nowUs) {
        probe.challengePending = true
        probe.repeatAtUs = NEVER
      }
      if (probe.deadlineUs <= nowUs) this.#onValidationFailed(probe, nowUs)
    }
  }

  #onValidationFailed(probe: PathProbe, nowUs: Micros): void {
    probe.stop()
    const { path } = probe
    if (!sameTuple(probe.tuple, path.tuple)) {
      // A fallback that does not answer is still the last validated address: an outage may silence both.
      if (probe.purpose === 'fallback') return
      this.#removeProbe(probe)
      if (probe.purpose === 'migrate') this.#notify(path, 'failed')
      return
    }
    // RFC 10069 §3.1: "Each endpoint MUST also validate that a minimum QUIC packet MTU of 1200 bytes is supported on the path."
    const isTooNarrow = path.isValidated && probe.isForMtu && path.id > 0
    if (path.isValidated && !isTooNarrow) return
    this.#notify(path, 'failed')
    if (isTooNarrow) return this.#host.onPathUnreachable(path, nowUs)
    // RFC 9000 §9.3.2: "the endpoint MUST revert to using the last validated peer address when validation of a new peer address fails"
    const fallback = this.probes.find(
      (candidate) => candidate.path === path && candidate.purpose === 'fallback' && candidate.isValidated,
    )
    if (fallback === undefined) {
      if (path.id > 0) return this.#host.onPathUnreachable(path, nowUs)
      // RFC 9000 §9: an endpoint without a valid path MAY close with NO_VIABLE_PATH. We wait instead, challenging on, until
      // the idle timeout: an outage of a second during a NAT rebinding must not end the connection.
      probe.start(path.ptoUs(this.#host.maxAckDelayUs), nowUs)
      return
    }
    this.#removeProbe(probe)
    if (fallback.cid !== undefined) this.#adoptCid(path, fallback)
    // RFC 9000 §9.5: the CID of the address that we give up was the peer's other face; a fresh one, if there is any.
    else if (fallback.isApart) path.cids.rotate()
    path.cids.heard = fallback.heard
    fallback.purpose = 'active'
    fallback.stop()
    path.moveTo(fallback.tuple, true, false, nowUs)
    path.mtu.start()
  }

  /** A probe with something to send and the credit to send it. */
  nextProbe(): PathProbe | undefined {
    for (const probe of this.probes) {
      if (probe.hasSomethingToSend() && this.creditOf(probe) >= 60 && this.#hasCid(probe)) return probe
    }
    return undefined
  }

  // RFC 9000 §19.15: "An endpoint … MUST stop using the corresponding connection IDs" once told to retire them (Retire Prior To)
  /** Whether a probe has a connection ID to send to; one that the peer has withdrawn gives way to a spare one. */
  #hasCid(probe: PathProbe): boolean {
    const { cids } = probe.path
    if (probe.cid === undefined && !this.#needsOwnCid(probe)) return probe.path.isAddressable()
    if (probe.cid !== undefined && cids.inUse.includes(probe.cid)) return true
    const spare = cids.takeSpare()
    if (spare === undefined) {
      // One that served an answer elsewhere goes back: the peer gives another for it.
      const idle = this.probes.find((other) => other !== probe && isIdleAnswer(other) && other.path === probe.path)
      if (idle !== undefined) this.#removeProbe(idle)
      return false
    }
    cids.inUse.push(spare)
    probe.cid = spare
    return true
  }

  // RFC 9000 §9.5: "An endpoint MUST NOT reuse a connection ID when sending from more than one local address … Similarly, an endpoint MUST NOT reuse a connection ID when sending to more than one destination address."
  /** Whether the tuple of a probe may not be linked with the one in use. Without a CID for it, it stays silent (RFC 9000 §5.1.1). */
  #needsOwnCid(probe: PathProbe): boolean {
    const { path } = probe
    if (sameTuple(path.tuple, probe.tuple) || path.cids.active?.cid.length === 0) return false
    // A client moves on purpose. A server goes on with its CID when the peer's has not changed: a NAT has rebound.
    return !this.#host.isServer || probe.isApart
  }

  /** Bytes a probe may send now. The path keeps the books of the tuple it uses, a probe those of any other. */
  creditOf(probe: PathProbe): number {
    const { path } = probe
    return sameTuple(probe.tuple, path.tuple) ? path.amplificationCredit : probe.amplificationCredit
  }

  /** Books a datagram of a probe. */
  onProbeBytes(probe: PathProbe, bytes: number): void {
    if (sameTuple(probe.tuple, probe.path.tuple)) probe.path.sentBytes += bytes
    else probe.sentBytes += bytes
  }

  /** The path leaves its tuple: a probe that goes on there takes over the books. */
  #handOver(path: Path): void {
    const probe = this.#probeFor(path, path.tuple)
    if (probe === undefined) return
    probe.receivedBytes = Math.max(probe.receivedBytes, path.receivedBytes)
    probe.sentBytes = Math.max(probe.sentBytes, path.sentBytes)
  }

  /** Forgets tuples that only asked a question and got their answer. */
  onProbeSent(probe: PathProbe): void {
    if (probe.hasSomethingToSend() || probe.isValidating()) return
    if (probe.purpose !== 'answer') return
    // A client answers from an address it has left; a server from one that the peer may be about to move to.
    const isFarewell = !this.#host.isServer && probe.cid !== undefined
    if (isFarewell || (!probe.isValidated && this.probes.length > PROBES_MAX / 2)) this.#removeProbe(probe)
  }

  #notify(path: Path, change: 'validated' | 'rebound' | 'migrated' | 'failed'): void {
    this.#events.push({ kind: 'path', path: path.id, change })
    this.#host.onPathEvent(change, path)
  }
}

/** A tuple that asked, got its answer, and holds a CID in case more comes. */
function isIdleAnswer(probe: PathProbe): boolean {
  return probe.purpose === 'answer' && probe.cid !== undefined && !probe.hasSomethingToSend() && !probe.isValidating()
}

/** A wildcard socket before its first packet: the kernel picks the source address, the peer's answer shows it. */
function isUnspecified(address: string): boolean {
  return address === '' || address === '0.0.0.0' || address === '::'
}

/** 0 = available and answering, 1 = backup and answering, 2 = available but silent, 3 = backup and silent; late ones half a rank behind. */
export function rankOf(path: Path): number {
  return (path.isSuspect() ? 2 : path.recovery.isLate ? 0.5 : 0) + reserveOf(path)
}

/** Our backup path is a little better than others once the peer has said that it relies on it. */
function reserveOf({ status, peerStatus }: Path): number {
  if (peerStatus === 'backup') return 1
  return status === 'backup' ? (peerStatus === 'available' ? 0.75 : 1) : 0
}
