/** Tells the owners of sent frames what became of them. */
import type { ConnectionCore } from '../core.ts'
import type { Path } from '../path/path.ts'
import type { Level } from '../ports/crypto.ts'
import type { Micros } from '../ports/datagrams.ts'
import type { PacketSpace } from '../recovery/packet-space.ts'
import type { ReceiptSink } from '../recovery/recovery.ts'
import { ReceiptKind, SentFlag } from '../recovery/sent-packets.ts'

export class Receipts implements ReceiptSink {
  readonly #core: ConnectionCore

  constructor(core: ConnectionCore) {
    this.#core = core
  }

  onReceiptAcked(space: PacketSpace, kind: number, a: number, b: number, c: number, _nowUs: Micros): void {
    const { streams, handshake, paths, multipath } = this.#core
    switch (kind) {
      case ReceiptKind.Stream:
        return streams.onStreamAcked(a, b, c)
      case ReceiptKind.Crypto:
        return handshake.onAcked(a as Level, b, c)
      case ReceiptKind.Ack:
        return space.ack.onAckAcked(a)
      case ReceiptKind.PathAck:
        return paths.get(b)?.space.ack.onAckAcked(a)
      case ReceiptKind.ResetStream:
        return streams.onResetAcked(a)
      case ReceiptKind.RetireConnectionId:
        return multipath.registries.get(a)?.onRetireAcked(b)
      default:
    }
  }

  onReceiptLost(_space: PacketSpace, kind: number, a: number, b: number, c: number): void {
    const core = this.#core
    const { streams, handshake } = core
    switch (kind) {
      case ReceiptKind.Stream:
        return streams.onStreamLost(a, b, c)
      case ReceiptKind.Crypto:
        return handshake.onLost(a as Level, b, c)
      case ReceiptKind.MaxData:
        streams.window.needsAnnouncement = true
        return
      case ReceiptKind.MaxStreams:
        streams.limits.announce[a as 0 | 1] = true
        return
      case ReceiptKind.MaxStreamData:
        return streams.onControlLost(a, 'maxStreamData')
      case ReceiptKind.ResetStream:
        return streams.onControlLost(a, 'reset')
      case ReceiptKind.StopSending:
        return streams.onControlLost(a, 'stop')
      case ReceiptKind.StreamDataBlocked:
        return streams.onControlLost(a, 'blocked')
      case ReceiptKind.DataBlocked:
        if (streams.credit.available === 0) streams.outbox.dataBlockedPending = true
        return
      case ReceiptKind.NewConnectionId:
        return core.multipath.registries.get(a)?.onAnnouncementLost(b)
      case ReceiptKind.RetireConnectionId:
        return core.multipath.registries.get(a)?.onRetireLost(b)
      // RFC 9000 §13.3: "The HANDSHAKE_DONE frame MUST be retransmitted until it is acknowledged."
      case ReceiptKind.PathAbandon:
      case ReceiptKind.PathStatus:
      case ReceiptKind.MaxPathId:
      case ReceiptKind.PathsBlocked:
      case ReceiptKind.PathCidsBlocked:
        return core.multipath.onLost(kind, a, b)
      case ReceiptKind.AdditionalAddresses:
        return core.announcer.onLost(a)
      case ReceiptKind.NewToken:
        return core.addressTokens.onLost(core.paths.primary)
      case ReceiptKind.HandshakeDone:
        core.handshakeDonePending = true
        return
      case ReceiptKind.Datagram:
        // RFC 9221 §5: datagrams are not retransmitted
        core.datagrams.lost++
        return
      default:
    }
  }

  onPacketAcked(space: PacketSpace, bytes: number, flags: number, nowUs: Micros): void {
    const path = this.#core.paths.get(space.pathId)
    if (path === undefined) return
    if ((flags & SentFlag.Ect0) !== 0) path.newlyAckedEct0++
    if ((flags & SentFlag.MtuProbe) !== 0) {
      if (path.mtu.onProbeAcked(bytes, nowUs)) this.#mtuChanged(path, nowUs)
    } else path.mtu.onPacketAcked(bytes)
  }

  onPacketLost(space: PacketSpace, bytes: number, flags: number, nowUs: Micros): void {
    const path = this.#core.paths.get(space.pathId)
    if (path === undefined) return
    if ((flags & SentFlag.Ect0) !== 0) path.ecn.onLost(2)
    if ((flags & SentFlag.MtuProbe) !== 0) path.mtu.onProbeLost(bytes)
    else if (path.mtu.onPacketLost(bytes, nowUs)) this.#mtuChanged(path, nowUs)
  }

  #mtuChanged(path: Path, nowUs: Micros): void {
    path.onMtuChanged()
    this.#core.observer?.event('mtu_updated', { path_id: path.id, new: path.mtu.mtuBytes }, nowUs)
  }
}
