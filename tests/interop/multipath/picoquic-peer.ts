/** The stranger picoquic: takes its library out of the PyPI package aiopquic and starts a Python program around it. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PeerProcess } from '../peer-process.ts'
import { interopRoot, repositoryRoot } from '../peers.ts'
import { runClientSteps } from './client-steps.ts'
import type { Certificates } from './noq-peer.ts'

const run = promisify(execFile)
const PACKAGE = 'aiopquic==0.6.1'
const program = join(interopRoot, 'peers', 'picoquic', 'peer.py')
const folder = join(repositoryRoot, '.cache', 'peers', 'picoquic')
/** Where the library is, once it is installed. */
export const picoquicFolder = folder
const INSTALL_LIMIT_MS = 300_000
const STARTUP_MS = 10_000
const STOP_GRACE_MS = 3_000
const STEP_LIMIT_MS = 40_000

/** What picoquic counted on one path; a path that is gone keeps its last figures. */
export interface PicoquicPath {
  readonly id: number
  readonly isOpen: boolean
  readonly packetsSent: number
  readonly packetsLost: number
  readonly bytesSent: number
  readonly bytesReceived: number
}

export interface PicoquicFacts {
  readonly paths: readonly PicoquicPath[]
  /** `available 1`, `suspended 1`, `deleted 1`, in order. */
  readonly events: readonly string[]
}

/**
 * Puts the wheel's files below `.cache/peers/picoquic`; returns the version of picoquic in it. The extension module in
 * the wheel is built for one Python, but only its C symbols are used, so that any Python from 3.11 on will do.
 */
export async function installPicoquic(): Promise<string> {
  const stamp = join(folder, '.installed')
  if (!existsSync(stamp) || (await readFile(stamp, 'utf8')) !== PACKAGE) {
    await rm(folder, { recursive: true, force: true })
    const wheels = join(folder, 'wheel')
    await mkdir(wheels, { recursive: true })
    const choice = ['--no-deps', '--only-binary=:all:', '--python-version', '3.12', '--dest', wheels]
    await runOrExplain(['-m', 'pip', 'download', '--quiet', ...choice, PACKAGE])
    const unpack =
      'import glob, sys, zipfile; zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]).extractall(sys.argv[2])'
    await runOrExplain(['-c', unpack, wheels, folder])
    await rm(wheels, { recursive: true })
    await writeFile(stamp, PACKAGE)
  }
  return (await runOrExplain([program, folder, '--version'])).trim()
}

async function runOrExplain(args: readonly string[]): Promise<string> {
  try {
    return (await run('python3', [...args], { timeout: INSTALL_LIMIT_MS })).stdout
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error)
    const needs = `Python 3.11 or newer with pip, and the PyPI package ${PACKAGE} for Linux on x86-64 or arm64`
    throw new Error(`python3 ${args.join(' ')}: ${said.trim()}\nThis step needs ${needs}; install it and run again.`)
  }
}

/** A running picoquic server and its port, the same on all its addresses. */
export interface PicoquicServer {
  readonly port: number
  stop(): Promise<void>
}

export async function startPicoquicServer(
  addresses: readonly string[],
  files: Certificates,
  logFile: string,
  qlog: string,
): Promise<PicoquicServer> {
  const { certificate, privateKey } = files
  const command = ['python3', program, folder, 'server', addresses.join(','), certificate, privateKey, qlog]
  const server = new PeerProcess('picoquic server', command, {}, logFile)
  const stop = (): Promise<void> => server.stop(STOP_GRACE_MS)
  try {
    const { port } = await server.report('listening', STARTUP_MS)
    return { port: Number(port), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Runs a picoquic client through its steps; the facts after each, by step. Rejects when a step fails. */
export function runPicoquicClient(
  server: string,
  files: Certificates,
  steps: readonly string[],
  logFile: string,
  qlog: string,
): Promise<ReadonlyMap<string, PicoquicFacts>> {
  return runClientSteps({
    name: 'picoquic client',
    command: ['python3', program, folder, 'client', server, files.certificate, qlog],
    steps,
    logFile,
    limitMs: STEP_LIMIT_MS,
    stopGraceMs: STOP_GRACE_MS,
  })
}

export function picoquicPath(facts: PicoquicFacts | undefined, id: number): PicoquicPath {
  const path = facts?.paths.find((candidate) => candidate.id === id)
  if (path === undefined) throw new Error(`picoquic knows no path ${id}`)
  return path
}
