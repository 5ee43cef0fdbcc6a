/** The peer ngtcp2: the example programs gtlsclient and gtlsserver of the Debian packages. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ensureTool } from '../../scripts/tools.ts'
import { interopRoot, type Peer } from './peer.ts'

const run = promisify(execFile)
const DRAFT_VERSION_2 = 'ngtcp2 0.12 of Debian 12 speaks a draft of version 2 with another number'
/** Direct packets may overtake those through the proxy. */
const UNANSWERED =
  'ngtcp2 acknowledges a PATH_CHALLENGE that comes before NEW_CONNECTION_ID and never answers it, as its log shows'
const DOWNLOADS_ONLY = 'gtlsserver answers with files and does not look at request bodies'

async function install(): Promise<string> {
  for (const role of ['client', 'server']) {
    const tool = { command: `gtls${role}`, apt: [`ngtcp2-${role}`], why: `the ${role} of ngtcp2` }
    const reason = await ensureTool(tool)
    if (reason !== undefined) throw new Error(reason)
  }
  const { stdout } = await run('dpkg-query', ['--show', '--showformat', `\${Version}`, 'ngtcp2-client']).catch(() => ({
    stdout: 'of this machine',
  }))
  return stdout.trim()
}

export const ngtcp2: Peer = {
  name: 'ngtcp2',
  logsKeyUpdates: false,
  faults: { server: { 'preferred-address': UNANSWERED } },
  clientLacks: {
    version2: DRAFT_VERSION_2,
    uploads: 'gtlsclient sends one method and one body in a connection',
  },
  serverLacks: {
    version2: DRAFT_VERSION_2,
    keyUpdate: 'gtlsserver cannot be told to start a key update',
    uploads: DOWNLOADS_ONLY,
  },
  install,
  command: (_role, specFile) => [process.execPath, join(interopRoot, 'ngtcp2-peer.ts'), specFile],
}
