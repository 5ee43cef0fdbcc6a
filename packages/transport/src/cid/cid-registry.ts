/** Connection IDs of one path ID: those we issued (routing to us) and those the peer issued (routing to it). */
import { TransportError } from '@quicether/wire'
import { equalBytes } from '../bytes.ts'
import { RangeSet } from '../ranges.ts'

/** A connection ID of the peer. */
export interface PeerCid {
  readonly sequence: number
  readonly cid: Uint8Array
  /** Undefined for the first one of a client, which has no token. */
  readonly resetToken: Uint8Array | undefined
}

/** A connection ID of ours. `isAnnounced` once a NEW_CONNECTION_ID with it has been written. */
export interface LocalCid {
  readonly sequence: number
  readonly cid: Uint8Array
  readonly resetToken: Uint8Array
}

/** Retired peer CIDs whose RETIRE_CONNECTION_ID is not acknowledged: bound of RFC 9000 §5.1.2. */
const RETIRING_MAX = 16
/** Gaps kept in the sequence numbers we have retired. A peer numbers its CIDs without gaps, so that long-lived ones make them. */
const RETIRED_RANGES_MAX = 128

/** What the registry asks of the endpoint and the connection. */
export interface CidHost {
  /** Creates a fresh CID for a path, routes it, and derives its reset token. */
  issue(pathId: number, sequence: number): LocalCid
  unroute(cid: Uint8Array): void
  /** A reset token of the peer becomes valid (or not any more) for detecting stateless resets. */
  trustResetToken(token: Uint8Array): void
  forgetResetToken(token: Uint8Array): void
}

export class CidRegistry {
  readonly pathId: number
  /** Ours, by ascending sequence. */
  readonly local: LocalCid[] = []
  /** Sequences of ours that wait to be announced. */
  readonly announcePending: number[] = []
  /** Sequences of the peer's that wait for a RETIRE_CONNECTION_ID. */
  readonly retirePending: number[] = []
  /** Peer CIDs not in use by any tuple, oldest first. */
  readonly spare: PeerCid[] = []
  /** Peer CID in use on the active tuple. */
  active: PeerCid | undefined
  /** Sequence of ours that the peer's newest packet with more than probing frames was sent to; -1 = none came yet. */
  heard = -1
  readonly #host: CidHost
  #nextLocal = 0
  #retirePriorTo = 0
  /** Next sequence number we expect of the peer. */
  nextPeerSequence = 0
  /** The path is abandoned: connection IDs are neither issued nor retired any more (RFC 10069 §3.4). */
  #isOver = false
  /** Sequences retired by us whose RETIRE_CONNECTION_ID is not acknowledged yet. */
  readonly #retiring: Set<number> = new Set()
  /** Every sequence retired by us: a late copy of its NEW_CONNECTION_ID must not bring it back. */
  readonly #retired: RangeSet = new RangeSet()

  constructor(pathId: number, host: CidHost) {
    this.pathId = pathId
    this.#host = host
  }

  // ---- ours

  /** Adopts the CID of the handshake as sequence 0. */
  adoptLocal(local: LocalCid): void {
    this.local.push(local)
    this.#nextLocal = Math.max(this.#nextLocal, local.sequence + 1)
  }

  // RFC 9000 §5.1.1: "An endpoint SHOULD ensure that its peer has a sufficient number of available and unused connection IDs" and MUST NOT exceed the peer's limit
  /** Issues CIDs until the peer has `limit` of them. */
  replenish(limit: number): void {
    if (this.#isOver) return
    while (this.local.length < limit) {
      const local = this.#host.issue(this.pathId, this.#nextLocal++)
      this.local.push(local)
      this.announcePending.push(local.sequence)
    }
  }

  /** Issues a CID that travels in preferred_address, with sequence 1, instead of a NEW_CONNECTION_ID (RFC 9000 §5.1.1). */
  issueForPreferredAddress(): LocalCid {
    const local = this.#host.issue(this.pathId, this.#nextLocal++)
    this.local.push(local)
    return local
  }

  /** Sequence number the next connection ID of ours will have. */
  get nextLocalSequence(): number {
    return this.#nextLocal
  }

  /** RFC 10069 §3.4: an abandoned path retires all CIDs of the peer at once, without a frame for each. */
  forgetPeer(): void {
    this.#isOver = true
    for (const peer of [this.active, ...this.spare, ...this.inUse]) {
      if (peer?.resetToken) this.#host.forgetResetToken(peer.resetToken)
    }
    this.active = undefined
    this.spare.length = 0
    this.inUse.length = 0
    this.retirePending.length = 0
    this.announcePending.length = 0
  }

  localBySequence(sequence: number): LocalCid | undefined {
    return this.local.find((local) => local.sequence === sequence)
  }

  /** RETIRE_CONNECTION_ID from the peer. `receivedOn` is the CID the packet carried. */
  onRetired(sequence: number, receivedOn: number): void {
    // RFC 9000 §19.16: "Receipt of a RETIRE_CONNECTION_ID frame containing a sequence number greater than any previously sent to the peer MUST be treated as a connection error of type PROTOCOL_VIOLATION."
    if (sequence >= this.#nextLocal) {
      throw new TransportError('PROTOCOL_VIOLATION', 0x19, `retires connection ID ${sequence}, which was never issued`)
    }
    // RFC 9000 §19.16: "MUST NOT refer to the Destination Connection ID field of the packet in which the frame is contained"
    if (sequence === receivedOn) {
      throw new TransportError('PROTOCOL_VIOLATION', 0x19, `retires connection ID ${sequence} in a packet sent to it`)
    }
    const index = this.local.findIndex((local) => local.sequence === sequence)
    if (index < 0) return
    this.#host.unroute((this.local[index] as LocalCid).cid)
    this.local.splice(index, 1)
    const pending = this.announcePending.indexOf(sequence)
    if (pending >= 0) this.announcePending.splice(pending, 1)
  }

  onAnnouncementLost(sequence: number): void {
    if (!this.#isOver && this.localBySequence(sequence) && !this.announcePending.includes(sequence))
      this.announcePending.push(sequence)
  }

  // ---- the peer's

  /** The CID the peer used in the handshake, sequence 0. `resetToken` from the server's transport parameters. */
  adoptPeer(cid: Uint8Array, resetToken: Uint8Array | undefined): void {
    this.active = { sequence: 0, cid, resetToken }
    this.nextPeerSequence = Math.max(this.nextPeerSequence, 1)
    if (resetToken) this.#host.trustResetToken(resetToken)
  }

  /** The preferred address brings a CID with sequence 1 (RFC 9000 §5.1.1). */
  addPeer(sequence: number, cid: Uint8Array, resetToken: Uint8Array): void {
    this.spare.push({ sequence, cid, resetToken })
    this.nextPeerSequence = Math.max(this.nextPeerSequence, sequence + 1)
  }

  /** NEW_CONNECTION_ID. `limit` is our active_connection_id_limit. Throws on violations. */
  onNew(sequence: number, retirePriorTo: number, cid: Uint8Array, resetToken: Uint8Array, limit: number): void {
    // RFC 9000 §19.15: "An endpoint that is sending packets with a zero-length Destination Connection ID MUST treat receipt of a NEW_CONNECTION_ID frame as a connection error of type PROTOCOL_VIOLATION."
    if (this.active !== undefined && this.active.cid.length === 0) {
      throw new TransportError(
        'PROTOCOL_VIOLATION',
        0x18,
        'new connection ID although the peer chose a zero-length one',
      )
    }
    this.#checkReuse(sequence, cid, resetToken)
    this.nextPeerSequence = Math.max(this.nextPeerSequence, sequence + 1)
    const isKnown = this.#isKnown(sequence)
    const isLive = !isKnown && sequence >= this.#retirePriorTo
    // The new one first: when it retires all others it is the only one left to send to, a CONNECTION_CLOSE at least.
    if (isLive) this.spare.push({ sequence, cid, resetToken })
    if (retirePriorTo > this.#retirePriorTo) this.#retireBelow(retirePriorTo)
    if (isKnown) return
    // RFC 9000 §19.15: a CID below an earlier Retire Prior To is retired at once
    if (!isLive) return this.#retireSequence(sequence)
    if (this.active === undefined) this.active = this.takeSpare()
    // RFC 9000 §5.1.1: "if the number of active connection IDs exceeds the value advertised in its active_connection_id_limit transport parameter, an endpoint MUST close the connection with an error of type CONNECTION_ID_LIMIT_ERROR."
    if (this.#activeCount() > limit) {
      throw new TransportError(
        'CONNECTION_ID_LIMIT_ERROR',
        0x18,
        `${this.#activeCount()} connection IDs, limit ${limit}`,
      )
    }
  }

  /** Whether the peer has issued `cid` for this path ID, as far as it is still known. */
  hasPeerCid(cid: Uint8Array): boolean {
    const isSame = (peer: PeerCid): boolean => equalBytes(peer.cid, cid)
    return (this.active !== undefined && isSame(this.active)) || this.spare.some(isSame) || this.inUse.some(isSame)
  }

  #activeCount(): number {
    return this.spare.length + this.inUse.length + (this.active === undefined ? 0 : 1)
  }

  /** CIDs in use on other tuples than the active one: probes and the previous path during migration. */
  readonly inUse: PeerCid[] = []

  #isKnown(sequence: number): boolean {
    if (this.active?.sequence === sequence || this.#retired.contains(sequence)) return true
    return (
      this.spare.some((peer) => peer.sequence === sequence) || this.inUse.some((peer) => peer.sequence === sequence)
    )
  }

  // RFC 9000 §19.15: the same sequence with another CID, or the same CID under another sequence, is PROTOCOL_VIOLATION
  #checkReuse(sequence: number, cid: Uint8Array, resetToken: Uint8Array): void {
    const check = (peer: PeerCid): void => {
      const isSameCid = equalBytes(peer.cid, cid)
      if ((peer.sequence === sequence) !== isSameCid) {
        throw new TransportError('PROTOCOL_VIOLATION', 0x18, `connection ID ${sequence} contradicts an earlier one`)
      }
      if (isSameCid && peer.resetToken !== undefined && !equalBytes(peer.resetToken, resetToken)) {
        throw new TransportError('PROTOCOL_VIOLATION', 0x18, `connection ID ${sequence} with another reset token`)
      }
    }
    if (this.active) check(this.active)
    for (const peer of this.spare) check(peer)
    for (const peer of this.inUse) check(peer)
  }

  #retireBelow(retirePriorTo: number): void {
    this.#retirePriorTo = retirePriorTo
    for (const list of [this.spare, this.inUse]) {
      for (let i = list.length - 1; i >= 0; i--) {
        const peer = list[i] as PeerCid
        if (peer.sequence >= retirePriorTo) continue
        list.splice(i, 1)
        this.retire(peer)
      }
    }
    if (this.active !== undefined && this.active.sequence < retirePriorTo) {
      const old = this.active
      this.active = this.takeSpare()
      this.retire(old)
    }
  }

  /** An unused peer CID for another tuple; undefined when the peer has given none. */
  takeSpare(): PeerCid | undefined {
    const peer = this.spare.shift()
    if (peer?.resetToken) this.#host.trustResetToken(peer.resetToken)
    return peer
  }

  /** Stops using `peer` and tells the peer. */
  retire(peer: PeerCid): void {
    if (peer.resetToken) this.#host.forgetResetToken(peer.resetToken)
    const index = this.inUse.indexOf(peer)
    if (index >= 0) this.inUse.splice(index, 1)
    this.#retireSequence(peer.sequence)
  }

  /** Moves to a fresh CID on the active tuple, for privacy (RFC 9000 §9.5). False when none is spare. */
  rotate(): boolean {
    const next = this.takeSpare()
    if (next === undefined) return false
    const old = this.active
    this.active = next
    if (old) this.retire(old)
    return true
  }

  #retireSequence(sequence: number): void {
    if (this.#retired.contains(sequence)) return
    this.#retired.add(sequence, sequence + 1)
    this.#boundRetired()
    this.#retiring.add(sequence)
    this.retirePending.push(sequence)
    // RFC 9000 §5.1.2: "An endpoint SHOULD limit the number of connection IDs it has retired locally for which RETIRE_CONNECTION_ID frames have not yet been acknowledged."
    if (this.#retiring.size > RETIRING_MAX) {
      throw new TransportError('CONNECTION_ID_LIMIT_ERROR', 0x18, 'too many connection IDs being retired')
    }
  }

  onRetireLost(sequence: number): void {
    if (!this.#isOver && this.#retiring.has(sequence)) this.retirePending.push(sequence)
  }

  onRetireAcked(sequence: number): void {
    this.#retiring.delete(sequence)
  }

  /** Too many gaps: the oldest one without a connection ID in use counts as retired, too. */
  #boundRetired(): void {
    const { starts, ends } = this.#retired
    if (starts.length <= RETIRED_RANGES_MAX) return
    for (let i = 0; i + 1 < starts.length; i++) {
      const end = starts[i + 1] as number
      if (!this.#isLiveWithin(ends[i] as number, end)) return void this.#retired.add(ends[i] as number, end)
    }
  }

  #isLiveWithin(start: number, end: number): boolean {
    const isWithin = ({ sequence }: PeerCid): boolean => sequence >= start && sequence < end
    return (
      (this.active !== undefined && isWithin(this.active)) || this.spare.some(isWithin) || this.inUse.some(isWithin)
    )
  }

  /** The connection ends: nothing of it may be routed any more. */
  close(): void {
    for (const local of this.local) this.#host.unroute(local.cid)
    this.local.length = 0
    for (const peer of [this.active, ...this.spare, ...this.inUse]) {
      if (peer?.resetToken) this.#host.forgetResetToken(peer.resetToken)
    }
  }
}
