/** Puts the engine's rare events into the words of draft-ietf-quic-qlog-quic-events; others get our own namespace. */
import { qlogError } from './frame-json.ts'

type Data = Readonly<Record<string, unknown>>

export interface QlogEvent {
  /** With namespace, e.g. `quic:connection_closed`. */
  readonly name: string
  readonly data: Data
}

/** Names that the draft defines and whose data the engine gives in its form already. */
const standard = new Set([
  'alpn_information',
  'connection_id_updated',
  'connection_state_updated',
  'ecn_state_updated',
  'key_discarded',
  'migration_state_updated',
  'mtu_updated',
  'recovery_parameters_set',
  'version_information',
])

/** The qlog event for an event of the engine; a name with a colon is a qlog name already. */
export function toQlogEvent(name: string, data: Data): QlogEvent {
  if (name.includes(':')) return { name, data }
  if (name === 'connection_closed') return { name: 'quic:connection_closed', data: closedData(data) }
  if (name === 'connection_state') return { name: 'quic:connection_state_updated', data: stateData(data) }
  if (name === 'parameters_set') return { name: 'quic:parameters_set', data: parameterData(data) }
  if (name === 'key_updated') return { name: 'quic:key_updated', data: keyData(data) }
  return { name: `${standard.has(name) ? 'quic' : 'quicether'}:${name}`, data }
}

/** From a `CloseReason` of the engine. */
function closedData(data: Data): Data {
  const { kind, by, code, reason } = data
  const initiator = by === undefined ? {} : { initiator: by === 'peer' ? 'remote' : 'local' }
  if (kind === 'idle') return { trigger: 'idle_timeout', reason: 'nothing was heard from the peer' }
  if (kind === 'reset') return { initiator: 'remote', trigger: 'stateless_reset' }
  if (kind === 'version') return { trigger: 'version_mismatch', offered: data['offered'] }
  if (kind === 'application') {
    return { ...initiator, application_error: 'unknown', error_code: code, reason, trigger: 'application' }
  }
  if (kind !== 'transport' || typeof code !== 'number') return data
  const error = qlogError(code)
  const trigger = code === 0 ? 'unspecified' : 'error'
  return {
    ...initiator,
    connection_error: error,
    ...(error === 'unknown' ? { error_code: code } : {}),
    reason,
    trigger,
  }
}

function stateData(data: Data): Data {
  return data['new'] === 'handshake_completed' ? { ...data, new: 'handshake_complete' } : data
}

function keyData(data: Data): Data {
  const { generation, ...rest } = data
  return generation === undefined ? rest : { ...rest, key_phase: generation }
}

/** `initialMaxData` becomes `initial_max_data`; milliseconds are the draft's unit and lose their suffix. */
function parameterData(data: Data): Data {
  const result: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(data)) {
    if (key === 'owner') result['initiator'] = value
    else result[key.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value
  }
  return result
}

const dropTriggers = [
  [/duplicate/, 'duplicate'],
  [/authentic|decrypt/, 'decryption_failure'],
  [/key/, 'key_unavailable'],
  [/unknown.*connection|connection.*unknown/, 'connection_unknown'],
  [/version|unsupported/, 'unsupported'],
  [/header|malformed|invalid|short|unexpected|retry/, 'invalid'],
  [/limit|full|reject|amplification|tuple|cid/, 'rejected'],
] as const

/** The draft's word for why a packet was dropped. */
export function dropTrigger(reason: string): string {
  const lower = reason.toLowerCase()
  for (const [pattern, trigger] of dropTriggers) if (pattern.test(lower)) return trigger
  return 'general'
}
