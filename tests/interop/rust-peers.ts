/** The Rust peers quinn and quiche: one Cargo workspace, built once for each state of its sources. */
import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ensureTool } from '../../scripts/tools.ts'
import { cacheRoot, interopRoot, type Peer, runOrExplain, STAYS } from './peer.ts'

const run = promisify(execFile)
const sources = join(interopRoot, 'peers', 'rust')
const target = join(cacheRoot, 'rust-peers')
const NEEDS = 'Rust 1.88 or newer and the crates registry; for quiche also a C++ compiler, cmake and libclang'

const libclang = ['/usr/lib/*/libclang*.so*', '/usr/lib/llvm-*/lib/libclang*.so*', '/usr/lib64/libclang*.so*']

async function install(program: string): Promise<string> {
  const binary = join(target, 'debug', program)
  await mkdir(target, { recursive: true })
  const environment = program === 'quiche-peer' ? await toolsForQuiche() : {}
  const args = ['build', '--quiet', '--locked', '--target-dir', target, '--package', program]
  await runOrExplain('cargo', args, NEEDS, sources, environment)
  const { stdout } = await run(binary, ['--version'])
  return stdout.trim()
}

/** quiche brings BoringSSL, whose bindings are made by libclang; that library comes without the headers of a compiler. */
async function toolsForQuiche(): Promise<Record<string, string>> {
  const why = 'builds BoringSSL for quiche'
  const cmake = await ensureTool({ command: 'cmake', apt: ['cmake'], why })
  if (cmake !== undefined) throw new Error(cmake)
  if (globSync(libclang).length === 0) {
    // A library and no command: whether it came shows in the file system.
    const reason = await ensureTool({ command: 'libclang', apt: ['libclang1'], why })
    if (globSync(libclang).length === 0) throw new Error(reason ?? 'libclang is missing')
  }
  const { stdout } = await run('gcc', ['-print-file-name=include'])
  return { BINDGEN_EXTRA_CLANG_ARGS: `-I${stdout.trim()}` }
}

const ONLY_VERSION_1 = (name: string): string => `${name} speaks version 1 only`
const QUICHE_STUCK =
  'quiche does not send again what was lost on the address before: its qlog shows probe timeouts without packets'
const NO_KEY_UPDATE = 'quiche cannot be told to start a key update'
const QUICHE_NO_ECN = 'quiche leaves ECN to the program and does not count marks'
const NO_CHOICE = 'quiche offers no choice of TLS 1.3 cipher suites'

export const quinn: Peer = {
  name: 'quinn',
  amplificationSlack: {
    bytes: 1452,
    reason:
      'quinn sends a whole datagram as long as any of its credit is left: it passes the limit by up to one datagram',
  },
  reusesConnectionIds:
    'quinn takes a new connection ID when it is told of its new socket; what was on its way out leaves with the old one',
  logsKeyUpdates: false,
  logsPathChallenges: false,
  clientLacks: {
    reservedVersion: 'quinn refuses to start with a version that it does not know',
    version2: ONLY_VERSION_1('quinn'),
    preferredAddress: STAYS,
  },
  serverLacks: {
    version2: ONLY_VERSION_1('quinn'),
    preferredAddress: 'quinn answers on the preferred address from the first one, so that nobody can validate it',
  },
  install: () => install('quinn-peer'),
  command: (_role, specFile) => [join(target, 'debug', 'quinn-peer'), specFile],
}

export const quiche: Peer = {
  name: 'quiche',
  logsKeyUpdates: false,
  faults: { server: { rebinding: QUICHE_STUCK, 'rebinding-address': QUICHE_STUCK } },
  clientLacks: {
    version2: ONLY_VERSION_1('quiche'),
    keyUpdate: NO_KEY_UPDATE,
    chooseCipher: NO_CHOICE,
    ecn: QUICHE_NO_ECN,
    preferredAddress: STAYS,
  },
  serverLacks: {
    version2: ONLY_VERSION_1('quiche'),
    keyUpdate: NO_KEY_UPDATE,
    chooseCipher: NO_CHOICE,
    ecn: QUICHE_NO_ECN,
    preferredAddress: 'quiche has no setting for a preferred address',
  },
  install: () => install('quiche-peer'),
  command: (_role, specFile) => [join(target, 'debug', 'quiche-peer'), specFile],
}
