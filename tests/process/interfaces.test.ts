/** Real interfaces that go down and up under a connection: two network namespaces joined by two links. Needs root. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'

const peer = join(import.meta.dirname, 'interface-peer.ts')
const waitMs = 20_000

interface Report {
  readonly open: readonly string[]
  readonly health: 'working' | 'degraded'
  readonly closed: unknown
  readonly problems: readonly string[]
  readonly echoed: number
  readonly wrong: number
}

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })

/** Two namespaces with links qa1-qb1 (10.71.1.0/24) and qa2-qb2 (10.71.2.0/24); a reason when there can be none. */
function namespaces(t: TestContext): { readonly client: string; readonly server: string } | string {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const client = `quicether-a-${process.pid}`
  const server = `quicether-b-${process.pid}`
  const remove = (): void => {
    for (const name of [client, server]) {
      try {
        ip('netns', 'del', name)
      } catch {
        // It was never made.
      }
    }
  }
  t.after(remove)
  try {
    for (const name of [client, server]) ip('netns', 'add', name)
    for (const n of ['1', '2']) {
      ip('-n', client, 'link', 'add', `qa${n}`, 'type', 'veth', 'peer', 'name', `qb${n}`, 'netns', server)
      ip('-n', client, 'address', 'add', `10.71.${n}.1/24`, 'dev', `qa${n}`)
      ip('-n', server, 'address', 'add', `10.71.${n}.2/24`, 'dev', `qb${n}`)
      ip('-n', client, 'link', 'set', `qa${n}`, 'up')
      ip('-n', server, 'link', 'set', `qb${n}`, 'up')
    }
  } catch (error) {
    return `no network namespaces here: ${error instanceof Error ? error.message.split('\n').at(-1) : error}`
  }
  return { client, server }
}

/** Starts one end in a namespace; the test's end kills it. */
function start(t: TestContext, namespace: string, ...args: string[]): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, peer, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => void child.kill('SIGKILL'))
  return child
}

/** Follows the reports of the client. */
class Reports {
  latest: Report | undefined
  #onReport: (() => void) | undefined

  constructor(child: ChildProcess) {
    assert.ok(child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.latest = JSON.parse(line) as Report
      this.#onReport?.()
    })
  }

  /** Resolves with the first report from now on that fits. */
  async until(what: string, fits: (report: Report) => boolean): Promise<Report> {
    const deadline = Date.now() + waitMs
    while (Date.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 500)
        this.#onReport = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      if (this.latest !== undefined && fits(this.latest)) return this.latest
    }
    assert.fail(`${what}; instead ${JSON.stringify(this.latest)}`)
  }

  /** Data that goes through now, not what was under way. */
  async flowing(): Promise<void> {
    const before = this.latest?.echoed ?? 0
    await this.until('data flows', ({ echoed }) => echoed > before + 200_000)
  }
}

/** Open paths over the first link, and over the second one. */
const firstOf = ({ open }: Report): number => open.filter((path) => path.startsWith('10.71.1.1>')).length
const secondOf = ({ open }: Report): number => open.filter((path) => path.startsWith('10.71.2.1>')).length

test('interfaces that go down and come up close and open paths; without any the connection waits and goes on', async (t) => {
  const made = namespaces(t)
  if (typeof made === 'string') return t.skip(made)
  const directory = mkdtempSync(join(tmpdir(), 'quicether-interfaces-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'server.json')
  start(t, made.server, 'serve', file, '10.71.2.2')
  while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 20))
  await new Promise((resolve) => setTimeout(resolve, 100))
  const reports = new Reports(start(t, made.client, 'dial', '10.71.1.2', file))
  const link = (name: string, state: 'up' | 'down'): void => ip('-n', made.client, 'link', 'set', name, state)

  await reports.until('both links are used', (report) => firstOf(report) > 0 && secondOf(report) > 0)
  await reports.flowing()
  link('qa1', 'down')
  await reports.until('the first link is left', (report) => firstOf(report) === 0 && secondOf(report) > 0)
  await reports.flowing()
  link('qa1', 'up')
  await reports.until('the first link is back', (report) => firstOf(report) > 0)
  link('qa2', 'down')
  await reports.until('the second link is left', (report) => secondOf(report) === 0 && firstOf(report) > 0)
  await reports.flowing()
  link('qa1', 'down')
  await reports.until('no link is left', ({ health }) => health === 'degraded')
  link('qa2', 'up')
  await reports.until('it works again', (report) => report.health === 'working' && secondOf(report) > 0)
  await reports.flowing()
  assert.deepEqual([reports.latest?.wrong, reports.latest?.closed], [0, null])
})
