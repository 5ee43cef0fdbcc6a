/**
 * Makes a checkout runnable: npm packages, the pinned Node and the native crate.
 * Plain JavaScript without dependencies, for any Node from 20 on. A second run only compares two hashes.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const modules = path.join(root, 'node_modules')
const stampFile = path.join(modules, '.quicether-stamp')
const lockDirectory = path.join(root, '.cache', 'bootstrap.lock')
const oldestNode = 20
const lockStaleMs = 15 * 60_000

/** A missing or broken part of the machine, with the remedy in its message. Printed without a stack. */
export class BootstrapError extends Error {}

/**
 * Brings the checkout into a runnable state.
 * @param {{ quiet?: boolean, native?: boolean }} options `native: false` leaves the Rust crate alone.
 * @returns {Promise<string>} path of the Node that runs everything from here on
 */
export async function bootstrap(options = {}) {
  const quiet = options.quiet === true
  requireNode()
  if (!isInstalled()) await withLock(async () => (isInstalled() ? undefined : install(quiet)))
  const node = pinnedNode()
  if (options.native !== false) await native(quiet)
  return node
}

/** The Node that runs TypeScript here: the pinned one, else the running one where no pinned build exists. */
export function pinnedNode() {
  const linked = path.join(modules, '.bin', 'node')
  if (existsSync(linked)) return linked
  if (majorOf(process.versions.node) >= 24) return process.execPath
  throw new BootstrapError(
    `no pinned Node for ${process.platform}-${process.arch} and the running Node is ${process.versions.node}. ` +
      'Install Node 24 or newer (https://nodejs.org) and run the same command with it.',
  )
}

function requireNode() {
  if (majorOf(process.versions.node) >= oldestNode) return
  throw new BootstrapError(
    `Node ${process.versions.node} is too old to set up QuicEther, ${oldestNode} or newer is needed. ` +
      'Get one from https://nodejs.org or your package manager (Debian: apt-get install nodejs npm).',
  )
}

function majorOf(version) {
  return Number.parseInt(version, 10)
}

function isInstalled() {
  if (!existsSync(stampFile)) return false
  return readFileSync(stampFile, 'utf8') === stamp()
}

/** Hash of everything that decides what npm installs. */
function stamp() {
  const hash = createHash('sha256')
  const files = ['package.json', 'package-lock.json']
  for (const name of readdirSync(path.join(root, 'packages')).sort()) files.push(`packages/${name}/package.json`)
  for (const file of files) {
    const absolute = path.join(root, file)
    if (existsSync(absolute)) hash.update(file).update(readFileSync(absolute))
  }
  return `${hash.digest('hex')} ${process.platform}-${process.arch}`
}

async function install(quiet) {
  // A populated node_modules may be in use by a running process: it is brought up to date in place, never emptied.
  const isFresh = !existsSync(path.join(modules, '.package-lock.json'))
  let result = await npm([isFresh ? 'ci' : 'install', '--loglevel=error', '--no-audit', '--no-fund'], quiet)
  if (result.code !== 0 && isFresh && result.output.includes('EUSAGE')) {
    say(quiet, 'package-lock.json does not fit package.json, falling back to npm install')
    result = await npm(['install', '--loglevel=error', '--no-audit', '--no-fund'], quiet)
  }
  if (result.code !== 0) throw new BootstrapError(explainNpm(result.output))
  linkNode()
  writeFileSync(stampFile, stamp())
}

/** npm's own linking of binaries of optional packages differs between versions 10 and 11: this makes it certain. */
function linkNode() {
  const names = [`node-${process.platform}-${process.arch}`, `node-bin-${process.platform}-${process.arch}`]
  const name = names.find((candidate) => existsSync(path.join(modules, candidate, 'bin', 'node')))
  if (name === undefined) return
  const link = path.join(modules, '.bin', 'node')
  const target = path.join(modules, name, 'bin', 'node')
  const check = spawnSync(target, ['--version'], { encoding: 'utf8' })
  const wanted = JSON.parse(readFileSync(path.join(modules, name, 'package.json'), 'utf8')).version
  if (check.status !== 0 || check.stdout.trim() !== `v${wanted}`) {
    rmSync(link, { force: true })
    if (majorOf(process.versions.node) >= 24) return
    throw new BootstrapError(
      `the pinned Node ${wanted} does not run on this machine (${(check.stderr || check.error?.message || '').trim()}). ` +
        'It is built for glibc; on musl or older systems install Node 24 or newer yourself and run the same command.',
    )
  }
  mkdirSync(path.dirname(link), { recursive: true })
  if (existsSync(link) && statSync(link).ino === statSync(target).ino) return
  rmSync(link, { force: true })
  symlinkSync(path.relative(path.dirname(link), target), link)
}

async function npm(args, quiet) {
  const script = process.env.npm_execpath
  const isNpm = script !== undefined && /npm-cli\.[cm]?js$/.test(script) && existsSync(script)
  const command = isNpm ? process.execPath : 'npm'
  const env = { ...process.env }
  // Settings of the outer `npm run` must not leak into the install.
  for (const key of Object.keys(env)) if (/^npm_(package|lifecycle|command)/.test(key)) delete env[key]
  return runWithProgress(
    `installing packages (npm ${args[0]})`,
    command,
    isNpm ? [script, ...args] : args,
    { cwd: root, env },
    quiet,
  )
}

function explainNpm(output) {
  const tail = output.trim().split('\n').slice(-12).join('\n  ')
  if (/ENOENT_COMMAND/.test(output)) {
    return 'npm was not found. It comes with Node (https://nodejs.org); on Debian: apt-get install npm.'
  }
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENETUNREACH|CERT_/.test(output)) {
    return `the npm registry could not be reached. Check network and proxy with "npm ping", then run again.\n  ${tail}`
  }
  if (/\bE40[134]\b/.test(output)) {
    return `the npm registry refused a package. Check "npm config get registry", then run again.\n  ${tail}`
  }
  if (/EACCES|EPERM/.test(output)) {
    return `npm may not write into ${modules}. Make it yours (chown) or delete it, then run again.\n  ${tail}`
  }
  if (/ENOSPC/.test(output)) return `the disk is full, about 600 MB are needed below ${root}.\n  ${tail}`
  return `npm could not install the packages:\n  ${tail}`
}

async function native(quiet) {
  const script = path.join(root, 'scripts', 'build-native.mjs')
  if (!existsSync(script)) throw new BootstrapError(`${script} is missing: the checkout is incomplete, clone it again.`)
  const { buildNative } = await import(pathToFileURL(script).href)
  await withLock(() => buildNative({ quiet })).catch((error) => {
    throw new BootstrapError(error.message)
  })
}

/** Runs a command; shows one line with the seconds on a terminal, keeps the output for explanations. */
export function runWithProgress(label, command, args, options, quiet) {
  const startedMs = Date.now()
  const seconds = () => ((Date.now() - startedMs) / 1000).toFixed(0)
  const isTerminal = process.stderr.isTTY === true && !quiet
  if (!quiet && !isTerminal) process.stderr.write(`${label} …\n`)
  const timer = isTerminal ? setInterval(() => process.stderr.write(`\r${label} … ${seconds()} s`), 500) : undefined
  return new Promise((resolve) => {
    let output = ''
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    const keep = (chunk) => {
      output = (output + chunk).slice(-64_000)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    const end = (code) => {
      clearInterval(timer)
      if (isTerminal) process.stderr.write(`\r${label} … ${seconds()} s ${code === 0 ? 'done' : 'failed'}\n`)
      resolve({ code, output })
    }
    child.on('error', (error) => {
      output += error.code === 'ENOENT' ? ' ENOENT_COMMAND' : ` ${error.message}`
      end(127)
    })
    child.on('close', (code, signal) => end(code ?? (signal === null ? 1 : 128)))
  })
}

/** One bootstrap at a time per checkout; the lock of a dead process is taken over. */
async function withLock(body) {
  mkdirSync(path.dirname(lockDirectory), { recursive: true })
  for (let waits = 0; !tryLock(); waits += 1) {
    if (waits === 4) process.stderr.write('waiting for another bootstrap of this checkout …\n')
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  try {
    return await body()
  } finally {
    rmSync(lockDirectory, { recursive: true, force: true })
  }
}

function tryLock() {
  const owner = path.join(lockDirectory, 'pid')
  try {
    mkdirSync(lockDirectory)
  } catch (error) {
    if (error.code !== 'EEXIST') throw new BootstrapError(`cannot write ${lockDirectory}: ${error.message}`)
    if (isLockAlive(owner)) return false
    rmSync(lockDirectory, { recursive: true, force: true })
    return false
  }
  writeFileSync(owner, String(process.pid))
  return true
}

function isLockAlive(owner) {
  try {
    if (Date.now() - statSync(lockDirectory).mtimeMs > lockStaleMs) return false
    if (!existsSync(owner)) return Date.now() - statSync(lockDirectory).mtimeMs < 2_000
    process.kill(Number(readFileSync(owner, 'utf8')), 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function say(quiet, line) {
  if (!quiet) process.stderr.write(`${line}\n`)
}

/** Prints what went wrong and ends; a bootstrap never shows a stack for a missing tool. */
export function failBootstrap(error) {
  const isExpected = error instanceof BootstrapError
  process.stderr.write(`quicether: ${isExpected ? error.message : (error?.stack ?? error)}\n`)
  process.exit(1)
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  bootstrap({ native: !process.argv.includes('--no-native') }).then((node) => {
    const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()
    process.stdout.write(`ready: Node ${version}\n`)
  }, failBootstrap)
}
