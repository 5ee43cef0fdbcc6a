/** Real interfaces and emulated links: a download over both of them, a link that dies, and nothing left behind. Needs root. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ensureTool, type Tool } from '../../scripts/tools.ts'
import { quicether } from '../bench/links/contenders.ts'
import { Files } from '../bench/links/material.ts'
import { measureShare } from '../bench/links/measure.ts'
import { leftovers, Topology } from '../bench/links/topology.ts'

const script = join(import.meta.dirname, '../../tools/topo.sh')
const tools: readonly Tool[] = [
  { command: 'ip', apt: ['iproute2'], why: 'makes network namespaces' },
  { command: 'ethtool', apt: ['ethtool'], why: 'switches offloads off' },
  { command: 'sysctl', apt: ['procps'], why: 'sets up the namespaces' },
  { command: 'gcc', apt: ['gcc', 'libc6-dev'], why: 'compiles the link emulator' },
]

/** Why links cannot be built here; false when they can. */
async function obstacle(): Promise<string | false> {
  if (process.platform !== 'linux') return 'needs Linux: network namespaces'
  if (process.getuid?.() !== 0) return 'needs root, to build network namespaces'
  for (const tool of tools) {
    const problem = await ensureTool(tool)
    if (problem !== undefined) return problem
  }
  const prefix = `qe${process.pid}-p`
  const { status, stderr } = spawnSync(script, ['run', 'true'], {
    env: { ...process.env, PREFIX: prefix },
    encoding: 'utf8',
  })
  if (status === 0) return false
  // In containers root may lack the right; anything else is a fault of ours.
  if (/Operation not permitted/u.test(stderr)) return `this machine allows no network namespaces: ${stderr.trim()}`
  throw new Error(`tools/topo.sh fails: ${stderr}`)
}

const skip = await obstacle()

test('quicether get brings a file over both links at once, and the links are gone afterwards', { skip }, async () => {
  using files = new Files()
  const link = { rateMbit: 30, delayMs: 5 }
  const measured = { name: 'two equal links', links: [link, link] as const, goal: 0 }
  // Throws unless every byte is right.
  const { linkBytes } = await measureShare(quicether('quicether', []), measured, 1, 1.5, files)
  assert.equal(linkBytes.length, 2)
  for (const bytes of linkBytes) assert.ok(bytes > 100_000, `both links carry data: ${linkBytes.join(', ')} bytes`)
  assert.deepEqual(leftovers(), [])
})

test('a download goes on over the second link when the first one goes silent', { skip }, async () => {
  using files = new Files()
  const link = { rateMbit: 30, delayMs: 5 }
  const topology = new Topology([link, link], 1)
  try {
    const bytes = 6_000_000
    const file = files.fileOf(bytes)
    await using serving = await quicether('quicether', []).serve(topology, file)
    const transfer = serving.download()
    await transfer.begun(20_000)
    topology.cut(1)
    assert.equal(await transfer.finished(60_000), 0, transfer.stderr)
    assert.equal(transfer.bytes, bytes)
    transfer.verify(file)
  } finally {
    topology.down()
  }
  assert.deepEqual(leftovers(), [])
})

test('topo.sh removes namespaces and emulators when its command fails, and those of dead owners', { skip }, () => {
  const run = (prefix: string, links: string, ...args: readonly string[]) =>
    spawnSync(script, args, { env: { ...process.env, PREFIX: prefix, LINKS: links }, encoding: 'utf8' })
  const spaces = () => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
  const failing = run(`qe${process.pid}-t`, '10/1/10ms/0', 'run', 'sh', '-c', 'exit 7')
  assert.equal(failing.status, 7, failing.stderr)
  const wrong = run(`qe${process.pid}-t`, '10/1', 'up')
  assert.equal(wrong.status, 1)
  assert.match(wrong.stderr, /link 1 is "10\/1", expected RATE\/DELAY\/QUEUE\/LOSS/u)
  const badOption = run(`qe${process.pid}-t`, '10/1/10ms/0/colour=1', 'up')
  assert.equal(badOption.status, 1)
  assert.match(badOption.stderr, /bad option "colour"/u)
  assert.doesNotMatch(spaces(), new RegExp(`qe${process.pid}-t`, 'u'))
  // A process that has ended for sure: one that we have waited for.
  const { pid } = spawnSync('true')
  assert.equal(run(`qe${pid}-t`, '10/1/10ms/0', 'up').status, 0)
  assert.match(spaces(), new RegExp(`qe${pid}-tcl`, 'u'))
  assert.equal(run('qe-', '', 'sweep').status, 0)
  assert.doesNotMatch(spaces(), new RegExp(`qe${pid}-t`, 'u'))
  assert.deepEqual(
    readdirSync('/run/quicether-links').filter((name) => name.startsWith(`qe${pid}-`)),
    [],
  )
})

test('the emulator loses, delays and counts as it is told', { skip }, (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'quicether-linkem-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const sender = join(directory, 'send.mjs')
  writeFileSync(
    sender,
    `import { createSocket } from 'node:dgram'
const socket = createSocket('udp4')
socket.bind(0, '10.99.1.1', () => {
  let left = 1000
  const timer = setInterval(() => {
    for (let i = 0; i < 20; i++) socket.send(Buffer.alloc(100), 9, '10.99.1.2')
    if ((left -= 20) <= 0) { clearInterval(timer); setTimeout(() => socket.close(), 200) }
  }, 1)
})\n`,
  )
  const command = `ip netns exec "\${PREFIX}cl" "$0" "$1" && "$2" status`
  const environment = { ...process.env, PREFIX: `qe${process.pid}-l`, LINKS: '0/5/100ms/20~3', SEED: '7' }
  const { status, stdout, stderr } = spawnSync(script, ['run', 'sh', '-c', command, process.execPath, sender, script], {
    env: environment,
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  const counts = /ec1->es1: in (\d+) frames .*? loss (\d+) /u.exec(stdout)
  assert.ok(counts !== null, stdout)
  const [frames, lost] = [Number(counts[1]), Number(counts[2])]
  // Every one: the neighbour is known for good, and no ARP answer can be lost.
  assert.ok(frames >= 1_000, stdout)
  // 20 % in bursts of 3 on average: a wide band, since the seed decides.
  assert.ok(lost > 0.08 * frames && lost < 0.35 * frames, `${lost} of ${frames} lost`)
})
