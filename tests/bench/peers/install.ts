/** Fetches and builds the contenders from their registries, pinned, into a cache outside the checkout. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ensureTool } from '../../../scripts/tools.ts'
import { peers } from '../../interop/peers.ts'

const run = promisify(execFile)
const programs = fileURLToPath(new URL('programs/', import.meta.url))
export const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'quicether', 'bench-peers')

const AIOQUIC = 'aioquic==1.7.2'
/** The PyPI source package that carries picoquic and picotls. */
const AIOPQUIC = 'aiopquic==0.6.1'
const BUILD_LIMIT_MS = 1_800_000

/** Something is missing on this machine; the message says what and how to get it. */
export class MissingError extends Error {}

/** Builds all Rust programs; returns the locked version of one crate. */
export async function installRust(crate: string): Promise<string> {
  const folder = join(programs, 'rust')
  const args = ['build', '--release', '--locked', '--quiet', '--target-dir', join(cache, 'rust')]
  await step('cargo', args, 'Rust 1.88 or newer and the crates registry', folder)
  const lock = await readFile(join(folder, 'Cargo.lock'), 'utf8')
  const versions = [...lock.matchAll(new RegExp(`^name = "${crate}"\nversion = "([^"]+)"`, 'gm'))].map(([, v]) => v)
  return versions.at(-1) ?? 'unknown'
}

export async function installGo(): Promise<string> {
  const binary = join(cache, 'bin', 'quicgo')
  await mkdir(join(cache, 'bin'), { recursive: true })
  await step(
    'go',
    ['build', '-trimpath', '-buildvcs=false', '-o', binary, '.'],
    'Go 1.26 or newer and its module proxy',
    join(programs, 'go'),
    { CGO_ENABLED: '0' },
  )
  return (await run(binary, ['--version'])).stdout.trim()
}

/** Into its own folder; `programs/*.ts` import it from there by path. */
export async function installNpm(name: string, module: string, version: string): Promise<string> {
  const folder = join(cache, name)
  const wanted = `${module}@${version}`
  await stamped(folder, wanted, async () => {
    await writeFile(join(folder, 'package.json'), '{"private":true}\n')
    const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--save-exact', wanted]
    await step('npm', args, `npm and its package ${wanted}`, folder)
  })
  return version
}

export async function installAioquic(): Promise<string> {
  const folder = join(cache, 'aioquic')
  await stamped(folder, AIOQUIC, async () => {
    await step('python3', ['-m', 'venv', folder], 'Python 3.11 or newer with its venv module')
    const python = join(folder, 'bin', 'python')
    await step(python, ['-m', 'pip', 'install', '--quiet', AIOQUIC], `the PyPI package ${AIOQUIC}`)
  })
  return AIOQUIC.split('==')[1] as string
}

/** Builds picotls and picoquic from the sources inside a PyPI package, and our program around them. */
export async function installPicoquic(): Promise<string> {
  const folder = join(cache, 'picoquic')
  const program = join(programs, 'picoquic', 'peer.c')
  const build = join(programs, 'picoquic', 'build.sh')
  const hash = createHash('sha256')
  for (const file of [program, build]) hash.update(await readFile(file))
  await stamped(folder, `${AIOPQUIC} ${hash.digest('hex')}`, async () => {
    const args = ['download', '--quiet', '--no-deps', '--no-binary=:all:', '--no-build-isolation', '--dest', folder]
    await step('python3', ['-m', 'pip', ...args, AIOPQUIC], `the PyPI package ${AIOPQUIC} in source`)
    const needs = 'cmake, a C compiler, and the headers of OpenSSL (Debian: apt-get install cmake gcc libssl-dev)'
    await step('sh', [build, folder, program], needs)
  })
  return readFileSync(join(folder, 'version'), 'utf8').trim()
}

/** Debian's package; installed when root, else asked for. */
export async function installCaddy(): Promise<string> {
  const reason = await ensureTool({
    command: 'caddy',
    apt: ['caddy'],
    why: 'the reverse proxy that ours is held against',
  })
  if (reason !== undefined) throw new MissingError(reason)
  await installGo()
  return (await run('caddy', ['version'])).stdout.trim()
}

/** Makes certificates with the same tool as the interop runner. */
export async function installCertificateMaker(): Promise<void> {
  await peers['aioquic']?.install()
}

/** Does the work once for this content; a half-done folder is begun anew. */
async function stamped(folder: string, content: string, work: () => Promise<void>): Promise<void> {
  const stamp = join(folder, '.installed')
  if (existsSync(stamp) && (await readFile(stamp, 'utf8')) === content) return
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  await work()
  await writeFile(stamp, content)
}

async function step(
  command: string,
  args: readonly string[],
  needs: string,
  cwd: string = cache,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  await mkdir(cache, { recursive: true })
  try {
    const env = { ...process.env, ...environment }
    await run(command, [...args], { cwd, env, timeout: BUILD_LIMIT_MS, maxBuffer: 64 << 20 })
  } catch (error) {
    const { message, stderr = '' } = error as Error & { stderr?: string }
    const tail = `${message}\n${stderr}`.trim().split('\n').slice(-12).join('\n')
    throw new MissingError(`${command} ${args.join(' ')}: ${tail}\nThis step needs ${needs}; install it and run again.`)
  }
}
