/** Priorities of requests (RFC 9218): the field and its parameters, PRIORITY_UPDATE, and what the engine makes of them. */
import type { StreamId, StreamTransport } from '@quicether/transport'
import { varintLength, writeVarint } from '@quicether/wire'
import { H3ConnectionError } from './errors.ts'
import { decodeIntegerPayload, encodeFrame, FrameType } from './frames.ts'
import { type HeaderList, headerValue, headerValues } from './headers.ts'

export interface Priority {
  /** 0 = most urgent to 7 = background; 3 when absent (RFC 9218 §4.1). */
  readonly urgency?: number
  /** Useful before it is whole: takes turns with others of its urgency; false when absent (RFC 9218 §4.2). */
  readonly isIncremental?: boolean
}

/** RFC 9218 §4: what holds where nobody has said otherwise. */
export const defaultPriority = { urgency: 3, isIncremental: false } as const satisfies Priority

/** Of clients that know nothing of priorities: a long response must not hold up all that were asked for after it. */
const UNSAID: Priority = { isIncremental: true }

/** Updates kept for requests that have not arrived; the oldest go first. */
const EARLY_UPDATES_MAX = 64
/** Values read; the two known parameters take less than ten characters. */
const FIELD_CHARACTERS_MAX = 1_024

/** A member of a dictionary (RFC 8941 §3.2): key, then a value or nothing, then parameters that nobody defined. */
const MEMBER = /^([a-z*][a-z0-9_.*-]*)(?:=([^;,"]*|"(?:[^"\\]|\\["\\])*"))?(?:;[^,]*)?$/

// RFC 9218 §4: "Unknown parameters, parameters with out-of-range values, or values of unexpected types MUST be ignored."
/** Parameters of a Priority field; what it does not say, or says wrongly, is absent. */
export function parsePriority(field: string): Priority {
  if (field.length > FIELD_CHARACTERS_MAX) return {}
  let urgency: number | undefined
  let isIncremental: boolean | undefined
  for (const member of field.split(',')) {
    const match = MEMBER.exec(member.trim())
    // RFC 8941 §4.2: a field that does not parse is ignored as a whole.
    if (match === null) return {}
    const value = match[2]
    if (match[1] === 'u') urgency = value !== undefined && /^[0-7]$/.test(value) ? Number(value) : undefined
    else if (match[1] === 'i')
      isIncremental = value === undefined || value === '?1' ? true : value === '?0' ? false : undefined
  }
  return {
    ...(urgency === undefined ? {} : { urgency }),
    ...(isIncremental === undefined ? {} : { isIncremental }),
  }
}

/** A Priority field; undefined when it would say nothing but the defaults. Throws RangeError for another urgency than 0 to 7. */
export function formatPriority({ urgency = 3, isIncremental = false }: Priority): string | undefined {
  if (!Number.isInteger(urgency) || urgency < 0 || urgency > 7) {
    throw new RangeError(`urgency is ${urgency}; it must be a whole number from 0 to 7`)
  }
  const members = [...(urgency === 3 ? [] : [`u=${urgency}`]), ...(isIncremental ? ['i'] : [])]
  return members.length === 0 ? undefined : members.join(', ')
}

/** Parameters of the Priority field of a message. */
export function priorityOf(headers: HeaderList): Priority {
  const values = headerValues(headers, 'priority')
  return values.length === 0 ? {} : parsePriority(values.join(','))
}

export interface PriorityUpdate {
  readonly id: StreamId
  readonly priority: Priority
}

/** Payload of a PRIORITY_UPDATE frame. Throws H3ConnectionError. */
export function decodePriorityUpdate(type: number, bytes: Uint8Array, start: number, end: number): PriorityUpdate {
  const idBytes = start < end ? 1 << ((bytes[start] as number) >>> 6) : 1
  if (end - start < idBytes) throw new H3ConnectionError('H3_FRAME_ERROR', 'PRIORITY_UPDATE without an element ID')
  const id = decodeIntegerPayload(type, bytes, start, start + idBytes)
  // RFC 9218 §7.2: an ID that is no request stream, or a push that was never promised, is H3_ID_ERROR
  if (type === FrameType.PriorityUpdatePush || id % 4 !== 0) {
    throw new H3ConnectionError('H3_ID_ERROR', `PRIORITY_UPDATE of element ${id}, which cannot exist`)
  }
  let field = ''
  for (let at = start + idBytes; at < end; at++) field += String.fromCharCode(bytes[at] as number)
  return { id, priority: parsePriority(field) }
}

/** A PRIORITY_UPDATE frame for a request. Throws RangeError for another urgency than 0 to 7. */
export function encodePriorityUpdate(id: StreamId, priority: Priority): Uint8Array {
  const field = formatPriority(priority) ?? 'u=3'
  const payload = new Uint8Array(varintLength(id) + field.length)
  const at = writeVarint(payload, 0, id)
  for (let i = 0; i < field.length; i++) payload[at + i] = field.charCodeAt(i)
  return encodeFrame(FrameType.PriorityUpdateRequest, payload)
}

/** What a server knows of the priorities of its requests, and tells the transport. */
export class RequestPriorities {
  readonly #transport: StreamTransport
  /** By PRIORITY_UPDATE, of requests that have not arrived. */
  readonly #early: Map<StreamId, Priority>

  constructor(transport: StreamTransport) {
    this.#transport = transport
    this.#early = new Map()
  }

  /** The client has changed its mind. `isOpen` = the request is here; `mayOpen` = it may still come. */
  onUpdate({ id, priority }: PriorityUpdate, isOpen: boolean, mayOpen: boolean): void {
    if (isOpen) this.#apply(id, { ...defaultPriority, ...priority })
    else if (mayOpen) {
      // RFC 9218 §7: for a stream that is not open yet, "the most recently received" is kept; the memory is bounded (§13.1)
      this.#early.delete(id)
      if (this.#early.size >= EARLY_UPDATES_MAX) this.#early.delete(this.#early.keys().next().value ?? id)
      this.#early.set(id, priority)
    }
  }

  /**
   * A request has arrived, or is about to be sent. Returns what holds for it: the update that overtook it, else its field.
   * Where nobody has said anything it takes turns with the others (docs/decisions/011).
   */
  onRequest(id: StreamId, headers: HeaderList): Required<Priority> {
    const update = this.#early.get(id)
    this.#early.delete(id)
    const said = update ?? (headerValue(headers, 'priority') === undefined ? UNSAID : priorityOf(headers))
    const priority = { ...defaultPriority, ...said }
    this.#apply(id, priority)
    return priority
  }

  /** The application has said it in the response, or by a call; what it leaves out stays as it is (RFC 9218 §8). */
  onResponse(id: StreamId, { urgency, isIncremental }: Priority): void {
    if (urgency === undefined && isIncremental === undefined) return
    if (urgency !== undefined) formatPriority({ urgency })
    this.#transport.setStreamPriority(id, {
      ...(urgency === undefined ? {} : { priority: urgency }),
      ...(isIncremental === undefined ? {} : { isIncremental }),
    })
  }

  #apply(id: StreamId, { urgency, isIncremental }: Required<Priority>): void {
    this.#transport.setStreamPriority(id, { priority: urgency, isIncremental })
  }
}
