/** Settings of the path policy, their defaults and their bounds. */
import { QuicError } from '@quicether/transport'

export interface PathPolicyOptions {
  /** Interfaces by name or the beginning of it; `auto` = all but loopback, or only loopback where the server is there. */
  readonly interfaces?: 'auto' | readonly string[]
  /** Of these, those kept in reserve: used only while no other path works. */
  readonly backup?: readonly string[]
  /** Open paths to addresses that the server announces, too. */
  readonly announced?: boolean
  /** Paths at once; what both sides allow (`config.maxPaths`) holds besides. */
  readonly pathsMax?: number
  /** A new address must be there for this long before it is used, unless no path works. */
  readonly stableMs?: number
  /** First wait after a failure; it doubles with every further one, for ever. */
  readonly retryMs?: number
  /** Longest wait between two attempts. */
  readonly retryMaxMs?: number
  /** Attempts to open paths, after the first few. */
  readonly attemptsPerMinute?: number
  /** Time between two looks at the interfaces. */
  readonly pollMs?: number
}

export type PathPolicySettings = Required<PathPolicyOptions>

export const pathPolicyDefaults: PathPolicySettings = {
  interfaces: 'auto',
  backup: [],
  announced: true,
  pathsMax: 8,
  stableMs: 500,
  retryMs: 1_000,
  retryMaxMs: 30_000,
  attemptsPerMinute: 20,
  pollMs: 250,
}

const bounds = {
  pathsMax: [1, 32],
  stableMs: [0, 600_000],
  retryMs: [10, 600_000],
  retryMaxMs: [10, 3_600_000],
  attemptsPerMinute: [1, 600],
  pollMs: [10, 600_000],
} as const

/** Fills in defaults. Throws QuicError ERR_CONFIG naming the field and its range. */
export function resolvePathPolicy(options: PathPolicyOptions = {}): PathPolicySettings {
  const settings = { ...pathPolicyDefaults, ...options }
  for (const [name, [min, max]] of Object.entries(bounds)) {
    const value = settings[name as keyof typeof bounds]
    if (!(value >= min && value <= max)) {
      throw new QuicError('ERR_CONFIG', `paths.${name} is ${value}; allowed: ${min} to ${max}`)
    }
  }
  const { interfaces, retryMs, retryMaxMs } = settings
  if (interfaces !== 'auto' && interfaces.every((name) => name === '')) {
    throw new QuicError('ERR_CONFIG', 'paths.interfaces names none; give names of interfaces or "auto"')
  }
  if (retryMaxMs < retryMs) {
    throw new QuicError('ERR_CONFIG', `paths.retryMaxMs is ${retryMaxMs}, below paths.retryMs, ${retryMs}`)
  }
  return settings
}
