/** The implementations of the matrix: how each is installed, started and what it cannot do. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ngtcp2 } from './ngtcp2.ts'
import { STAYS, interopRoot, type Peer, repositoryRoot, runOrExplain } from './peer.ts'
import { quiche, quinn } from './rust-peers.ts'

export * from './peer.ts'

const run = promisify(execFile)
const peersRoot = join(repositoryRoot, '.cache', 'peers')
const python = join(peersRoot, 'aioquic', 'bin', 'python')

const AIOQUIC = 'aioquic==1.7.2'

async function installAioquic(): Promise<string> {
  await mkdir(peersRoot, { recursive: true })
  const stamp = join(peersRoot, 'aioquic', '.installed')
  if (!existsSync(stamp) || (await readFile(stamp, 'utf8')) !== AIOQUIC) {
    await runOrExplain(
      'python3',
      ['-m', 'venv', join(peersRoot, 'aioquic')],
      'Python 3.11 or newer with its venv module',
    )
    await runOrExplain(python, ['-m', 'pip', 'install', '--quiet', AIOQUIC], `the PyPI package ${AIOQUIC}`)
    await writeFile(stamp, AIOQUIC)
  }
  const { stdout } = await run(python, ['-c', 'import aioquic; print(aioquic.__version__)'])
  return stdout.trim()
}

const quicgoSources = ['go.mod', 'go.sum', 'main.go', 'client.go', 'server.go', 'body.go']

async function installQuicgo(): Promise<string> {
  await mkdir(peersRoot, { recursive: true })
  const folder = join(interopRoot, 'peers', 'quicgo')
  const hash = createHash('sha256')
  for (const file of quicgoSources) hash.update(await readFile(join(folder, file)))
  const digest = hash.digest('hex')
  const binary = join(peersRoot, 'quicgo')
  const stamp = join(peersRoot, 'quicgo.sha256')
  if (!existsSync(binary) || !existsSync(stamp) || (await readFile(stamp, 'utf8')) !== digest) {
    const args = ['build', '-trimpath', '-buildvcs=false', '-o', binary, '.']
    await runOrExplain('go', args, 'Go 1.26 or newer and its module proxy', folder, { CGO_ENABLED: '0' })
    await writeFile(stamp, digest)
  }
  const { stdout } = await run(binary, ['--version'])
  return stdout.trim()
}

/** Makes fresh test certificates in `folder`. aioquic must be installed: its cryptography library is used. */
export async function makeCertificates(folder: string): Promise<void> {
  await run(python, [join(interopRoot, 'peers', 'certificates.py'), folder])
}

const NO_ECN_AIOQUIC = 'aioquic neither marks nor reads ECN'

const aioquic: Peer = {
  name: 'aioquic',
  clientLacks: { ecn: NO_ECN_AIOQUIC, preferredAddress: STAYS },
  serverLacks: { ecn: NO_ECN_AIOQUIC, preferredAddress: 'aioquic has no setting for a preferred address' },
  install: installAioquic,
  command: (role, specFile) => [python, join(interopRoot, 'peers', `aioquic_${role}.py`), specFile],
}

const quicgo: Peer = {
  name: 'quic-go',
  amplificationSlack: {
    bytes: 1452,
    reason:
      'quic-go looks at the limit before it sends a datagram, not at its size: it passes the limit by up to one datagram',
  },
  clientLacks: {
    reservedVersion: 'quic-go refuses to start with a version that it does not know',
    compatibleVersions: 'quic-go has no compatible version negotiation (RFC 9368)',
    chooseCipher: 'Go offers no choice of TLS 1.3 cipher suites',
    preferredAddress: STAYS,
  },
  serverLacks: {
    compatibleVersions: 'quic-go has no compatible version negotiation (RFC 9368)',
    chooseCipher: 'Go offers no choice of TLS 1.3 cipher suites',
    preferredAddress: 'quic-go has no setting for a preferred address',
  },
  install: installQuicgo,
  command: (_role, specFile) => [join(peersRoot, 'quicgo'), specFile],
}

async function ourVersion(): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(join(repositoryRoot, 'packages', 'net', 'package.json'), 'utf8'))
  const version = manifest !== null && typeof manifest === 'object' && 'version' in manifest ? manifest.version : ''
  const { stdout } = await run('git', ['rev-parse', '--short', 'HEAD'], { cwd: repositoryRoot }).catch(() => ({
    stdout: '',
  }))
  return `${version}${stdout === '' ? '' : ` (${stdout.trim()})`}`
}

const quicether: Peer = {
  name: 'quicether',
  hasRouter: true,
  clientLacks: { reservedVersion: 'the engine starts only with versions that it speaks' },
  serverLacks: {},
  install: ourVersion,
  command: (_role, specFile) => [process.execPath, join(interopRoot, 'ours.ts'), specFile],
}

/** The command of `quicether router` with the three services behind it, under the same protocol as a server peer. */
export function routerCommand(specFile: string): readonly string[] {
  return [process.execPath, join(interopRoot, 'router-peer.ts'), specFile]
}

export const peers: Readonly<Record<string, Peer>> = { aioquic, 'quic-go': quicgo, quinn, quiche, ngtcp2, quicether }
