/** A toy application over streams: each transfer carries its own plan, and both ends know every byte that must come. */
import type { StreamId, StreamKind } from '@quicether/transport'

/** What one stream does. Written in front of its data, so that the other side acts by it without shared memory. */
export interface TransferPlan {
  readonly kind: StreamKind
  /** Picks the contents. */
  readonly key: number
  /** Bytes from the opener after the plan itself. */
  readonly uploadBytes: number
  /** Bytes back; 0 on unidirectional streams. */
  readonly replyBytes: number
  /** The opener resets its side after this many bytes; Infinity = never. */
  readonly openerResetsAt: number
  /** The opener asks the acceptor to stop after having read this much. */
  readonly openerStopsAt: number
  readonly acceptorResetsAt: number
  readonly acceptorStopsAt: number
  /** Pause before each read, per side; 0 = reads at once. */
  readonly openerReadDelayUs: number
  readonly acceptorReadDelayUs: number
}

export const PLAN_BYTES = 36

/** Error codes that the toy application uses; anything else on the wire is a bug. */
export const AppCode = { Reset: 0x71, Stop: 0x72, Done: 0 } as const

const NEVER_WORD = 0xffffffff

/** The plan as the first bytes of its stream, so that the acceptor knows what must come. */
export function encodePlan(plan: TransferPlan): Uint8Array {
  const bytes = new Uint8Array(PLAN_BYTES)
  const view = new DataView(bytes.buffer)
  const words = [
    plan.key,
    plan.uploadBytes,
    plan.replyBytes,
    plan.openerResetsAt,
    plan.openerStopsAt,
    plan.acceptorResetsAt,
    plan.acceptorStopsAt,
    plan.openerReadDelayUs,
    plan.acceptorReadDelayUs,
  ]
  words.forEach((word, i) => {
    view.setUint32(4 * i, word === Infinity ? NEVER_WORD : word)
  })
  return bytes
}

/** Reads what `encodePlan` wrote; `bytes` must hold a whole plan. */
export function decodePlan(bytes: Uint8Array, kind: StreamKind): TransferPlan {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const word = (i: number): number => view.getUint32(4 * i)
  const limit = (i: number): number => (word(i) === NEVER_WORD ? Infinity : word(i))
  return {
    kind,
    key: word(0),
    uploadBytes: word(1),
    replyBytes: word(2),
    openerResetsAt: limit(3),
    openerStopsAt: limit(4),
    acceptorResetsAt: limit(5),
    acceptorStopsAt: limit(6),
    openerReadDelayUs: word(7),
    acceptorReadDelayUs: word(8),
  }
}

/** Contents of the reply differ from those of the upload. */
export function replyKey(key: number): number {
  return key ^ 0x5a5a5a5a
}

/** How a side of a stream ended. */
export type Ending = 'open' | 'finished' | 'reset' | 'stopped'

/** A failed expectation: what the engine delivered is not what the peer sent. */
export class SafetyError extends Error {
  override readonly name = 'SafetyError'
}

/** Names a stream in messages. */
export function streamName(owner: string, id: StreamId): string {
  return `${owner} stream ${id}`
}
