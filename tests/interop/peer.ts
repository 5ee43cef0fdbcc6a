/** What an implementation of the matrix is: how it is installed, started and what it cannot do. */
import { execFile } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const INSTALL_LIMIT_MS = 1_200_000

export const interopRoot = fileURLToPath(new URL('.', import.meta.url))
export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url))
/** What takes minutes to build is kept outside the checkout, for all checkouts of the user. */
export const cacheRoot = process.env['QUICETHER_CACHE'] ?? join(homedir(), '.cache', 'quicether')

/** What a peer may be unable to do; a cell that needs it is reported as not asked, with the peer's reason. */
export type Lack =
  /** Start with a version that no server knows. */
  | 'reservedVersion'
  /** QUIC version 2 (RFC 9369). */
  | 'version2'
  /** Upgrade from version 1 to 2 by compatible version negotiation (RFC 9368). */
  | 'compatibleVersions'
  | 'chooseCipher'
  /** Start a key update. */
  | 'keyUpdate'
  | 'windows'
  | 'retry'
  | 'resumption'
  | 'zeroRtt'
  /** Client: move to a new port; server: follow. */
  | 'migration'
  | 'preferredAddress'
  | 'ecn'
  /** Client: send bodies and fetch others in one connection; server: take bodies. Then only the downloads are asked. */
  | 'uploads'

export type Lacks = Readonly<Partial<Record<Lack, string>>>

export interface Peer {
  readonly name: string
  /** Bytes by which this server is known to pass three times the bytes received, with the reason; ours has none. */
  readonly amplificationSlack?: { readonly bytes: number; readonly reason: string }
  /** False when its qlog has no event for a key update; the other side's has to do. */
  readonly logsKeyUpdates?: boolean
  /** False when its qlog does not show PATH_CHALLENGE frames. */
  readonly logsPathChallenges?: boolean
  /** Why this client is known to send with one connection ID from two addresses when it moves; ours never does. */
  readonly reusesConnectionIds?: string
  /** Can be asked for the case in which services stand behind a router. */
  readonly hasRouter?: boolean
  /** Cases in which this peer breaks down by a fault of its own, by role: what is seen, and in whose log. */
  readonly faults?: { readonly [role in 'client' | 'server']?: Readonly<Record<string, string>> }
  readonly clientLacks: Lacks
  readonly serverLacks: Lacks
  /** Makes the peer ready to run; returns its version. Throws what is missing and how to get it. */
  install(): Promise<string>
  /** `specFile` holds the specification as JSON. */
  command(role: 'client' | 'server', specFile: string): readonly string[]
}

/** Why a client is not asked for the case of the preferred address. */
export const STAYS = 'the client reads the preferred address and stays where it is'

/** Runs a step of an installation. @throws Error with what the step said and what it needs. */
export async function runOrExplain(
  command: string,
  args: readonly string[],
  needs: string,
  cwd = repositoryRoot,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  try {
    await run(command, [...args], { cwd, env: { ...process.env, ...environment }, timeout: INSTALL_LIMIT_MS })
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    throw new Error(`${command} ${args.join(' ')}: ${said.trim()}\nThis step needs ${needs}; install it and run again.`)
  }
}
