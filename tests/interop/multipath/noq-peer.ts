/** The stranger: builds the Rust program around noq and starts it as server or client. */
import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PeerProcess } from '../peer-process.ts'
import { interopRoot, repositoryRoot } from '../peers.ts'
import { runClientSteps } from './client-steps.ts'

const run = promisify(execFile)
const sources = join(interopRoot, 'peers', 'noq')
const target = join(repositoryRoot, '.cache', 'peers', 'noq')
const binary = join(target, 'debug', 'noq-peer')
const BUILD_LIMIT_MS = 600_000
const STARTUP_MS = 10_000
const STOP_GRACE_MS = 1_000
const CLIENT_LIMIT_MS = 60_000

/** What noq counted on one path. */
export interface NoqPath {
  readonly id: number
  readonly isOpen: boolean
  readonly datagramsSent: number
  readonly bytesSent: number
  readonly datagramsReceived: number
  readonly bytesReceived: number
  readonly streamFramesSent: number
  readonly streamFramesReceived: number
  readonly pathAcksSent: number
  readonly pathAcksReceived: number
  readonly abandonsSent: number
  readonly abandonsReceived: number
}

/** All of one connection, as noq sees it. */
export interface NoqFacts {
  readonly multipath: boolean
  readonly paths: readonly NoqPath[]
  /** `established 1`, `abandoned 1 RemoteAbandoned { … }`, `discarded 1`, `remote-status 1 Backup`, in order. */
  readonly events: readonly string[]
}

/** Files a run needs besides the programs. */
export interface Certificates {
  readonly certificate: string
  readonly privateKey: string
}

/** Builds the peer when its sources have changed; returns the version of noq. Throws what is missing. */
export async function installNoq(): Promise<string> {
  await mkdir(target, { recursive: true })
  const args = ['build', '--quiet', '--locked', '--target-dir', target]
  try {
    await run('cargo', args, { cwd: sources, timeout: BUILD_LIMIT_MS })
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    throw new Error(
      `cargo ${args.join(' ')}: ${said.trim()}\nThis step needs Rust 1.88 or newer and the crates registry; install it and run again.`,
    )
  }
  const { stdout } = await run(binary, ['--version'])
  return stdout.trim()
}

/** A running noq server and its port. */
export interface NoqServer {
  readonly port: number
  readonly process: PeerProcess
}

export async function startNoqServer(bind: string, files: Certificates, logFile: string): Promise<NoqServer> {
  const command = [binary, 'server', bind, files.certificate, files.privateKey]
  const server = new PeerProcess('noq server', command, {}, logFile)
  try {
    const { port } = await server.report('listening', STARTUP_MS)
    return { port: Number(port), process: server }
  } catch (error) {
    await server.stop(STOP_GRACE_MS)
    throw error
  }
}

/** Runs a noq client through its steps; the facts after each, by step. Rejects when a step fails. */
export function runNoqClient(
  server: string,
  files: Certificates,
  steps: readonly string[],
  logFile: string,
): Promise<ReadonlyMap<string, NoqFacts>> {
  return runClientSteps({
    name: 'noq client',
    command: [binary, 'client', server, files.certificate],
    steps,
    logFile,
    limitMs: CLIENT_LIMIT_MS,
    stopGraceMs: STOP_GRACE_MS,
  })
}

export function noqPath(facts: NoqFacts | undefined, id: number): NoqPath {
  const path = facts?.paths.find((candidate) => candidate.id === id)
  if (path === undefined) throw new Error(`noq knows no path ${id}`)
  return path
}
