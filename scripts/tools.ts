/** Programs that tests borrow from the machine: finds them, installs them on Debian when root, else says how to. */
import { spawnSync } from 'node:child_process'
import process from 'node:process'

export interface Tool {
  readonly command: string
  /** Debian packages that bring it. */
  readonly apt: readonly string[]
  /** What the tests use it for, for the message. */
  readonly why: string
}

/** Undefined when the tool is there (perhaps by now), else one sentence with the remedy. */
export async function ensureTool(tool: Tool): Promise<string | undefined> {
  if (isThere(tool.command)) return undefined
  const remedy = `apt-get install -y ${tool.apt.join(' ')}`
  const canInstall = process.getuid?.() === 0 && isThere('apt-get')
  if (!canInstall) return `${tool.command} is missing (${tool.why}); install it: ${remedy}`
  process.stderr.write(`installing ${tool.command}: ${remedy}\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const update = spawnSync('apt-get', ['update'], { env, encoding: 'utf8' })
  const install = spawnSync('apt-get', ['install', '-y', ...tool.apt], { env, encoding: 'utf8' })
  if (isThere(tool.command)) return undefined
  const tail = `${update.status === 0 ? '' : update.stderr}${install.stderr}`.trim().split('\n').slice(-3).join(' ')
  return `${tool.command} is missing (${tool.why}) and "${remedy}" failed: ${tail}`
}

function isThere(command: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', command], { stdio: 'ignore' }).status === 0
}
