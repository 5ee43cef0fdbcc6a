/** Builds the native crate into `packages/native/quicether.node`, only when its sources changed. Runs on Node 20 and later. */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const RUST_MINIMUM = [1, 88]
const crate = fileURLToPath(new URL('../packages/native/', import.meta.url))
const addon = join(crate, 'quicether.node')
const stamp = join(crate, 'target', 'quicether.stamp')

/** What must be installed before a build can begin, as sentences; empty = nothing is missing. */
export function missingForNativeBuild() {
  const missing = []
  const rustc = version('rustc')
  const wanted = RUST_MINIMUM.join('.')
  const install = `curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y  (then open a new shell)`
  if (rustc === undefined || version('cargo') === undefined) {
    missing.push(`Rust >= ${wanted} (rustc and cargo) is not installed. Get it with:\n    ${install}`)
  } else if (rustc[0] < RUST_MINIMUM[0] || (rustc[0] === RUST_MINIMUM[0] && rustc[1] < RUST_MINIMUM[1])) {
    missing.push(
      `Rust >= ${wanted} is needed, found ${rustc.join('.')}. Update with:\n    rustup update stable   (or ${install})`,
    )
  }
  const compiler = process.env.CC ?? 'cc'
  if (spawnSync(compiler, ['--version'], { stdio: 'ignore' }).status !== 0) {
    const how =
      process.platform === 'darwin'
        ? 'xcode-select --install'
        : 'apt-get install build-essential   (or: dnf install gcc)'
    missing.push(`A C compiler ('${compiler}') is needed to link the native crate. Get one with:\n    ${how}`)
  }
  return missing
}

/** Builds when needed. Resolves to whether it built; rejects with a message that says what to do. */
export async function buildNative({ force = false, quiet = false } = {}) {
  const fingerprint = hashSources()
  if (!force && existsSync(addon) && existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint) return false
  const missing = missingForNativeBuild()
  if (missing.length > 0) throw new Error(`The native crate cannot be built:\n  ${missing.join('\n  ')}`)
  await runCargo(quiet)
  const library = process.platform === 'darwin' ? 'libquicether_native.dylib' : 'libquicether_native.so'
  // A running process may have the old file mapped: put the new one beside it and swap.
  const fresh = `${addon}.${process.pid}`
  copyFileSync(join(targetFolder(), 'release', library), fresh)
  renameSync(fresh, addon)
  mkdirSync(join(crate, 'target'), { recursive: true })
  writeFileSync(stamp, fingerprint)
  return true
}

function runCargo(quiet) {
  const total = (readFileSync(join(crate, 'Cargo.lock'), 'utf8').match(/^\[\[package\]\]/gm) ?? []).length
  const started = Date.now()
  return new Promise((resolve, reject) => {
    const args = ['build', '--release', '--locked', '--color', 'never']
    const cargo = spawn('cargo', args, { cwd: crate, stdio: ['ignore', 'ignore', 'pipe'] })
    const log = []
    let compiled = 0
    const show = (text) => {
      if (quiet) return
      const seconds = Math.round((Date.now() - started) / 1000)
      const line = `native crate: ${text} (${seconds} s)`
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line}`)
      else process.stderr.write(`${line}\n`)
    }
    show('building, about a minute the first time')
    const ticker = process.stderr.isTTY
      ? setInterval(() => show(`compiled ${compiled} of about ${total} crates`), 500)
      : undefined
    let rest = ''
    cargo.stderr.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        log.push(line)
        if (/^\s+Compiling /.test(line)) compiled += 1
      }
    })
    cargo.on('error', (problem) => {
      clearInterval(ticker)
      reject(new Error(`cargo could not be started: ${problem.message}; is ~/.cargo/bin in PATH?`))
    })
    cargo.on('close', (code) => {
      clearInterval(ticker)
      show(code === 0 ? 'built' : 'failed')
      if (process.stderr.isTTY && !quiet) process.stderr.write('\n')
      if (code === 0) return resolve()
      const end = [...log, rest]
        .filter((line) => !/^\s+(Compiling|Downloaded|Downloading) /.test(line))
        .slice(-40)
        .join('\n')
      const network = /could not (resolve|connect)|failed to download|network failure/i.test(end)
      const remedy = network
        ? '\nThe crates must be downloaded once: check the network or the proxy settings of cargo.'
        : ''
      reject(new Error(`cargo build failed with code ${code} in packages/native:\n${end}${remedy}`))
    })
  })
}

function targetFolder() {
  return process.env.CARGO_TARGET_DIR ?? join(crate, 'target')
}

function version(tool) {
  const { status, stdout } = spawnSync(tool, ['--version'], { encoding: 'utf8' })
  const match = status === 0 ? /(\d+)\.(\d+)\.(\d+)/.exec(stdout) : null
  return match === null ? undefined : match.slice(1).map(Number)
}

function hashSources() {
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}`)
  const sources = readdirSync(join(crate, 'src'), { recursive: true }).map((name) => join('src', name))
  const files = ['Cargo.toml', 'Cargo.lock', 'build.rs', ...sources.filter((name) => name.endsWith('.rs'))]
  for (const name of files.sort()) hash.update(`\0${name}\0`).update(readFileSync(join(crate, name)))
  return hash.digest('hex')
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes('--clean')) rmSync(addon, { force: true })
  buildNative({ force: process.argv.includes('--force') }).catch((problem) => {
    process.stderr.write(`${problem.message}\n`)
    process.exitCode = 1
  })
}
