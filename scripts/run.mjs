/** Entry of every npm script: bootstraps the checkout, then runs the command's TypeScript with the pinned Node. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { bootstrap, failBootstrap, root } from './bootstrap.mjs'

/** One line per command. `native: false` = works without the Rust crate. */
const commands = {
  demo: { entry: 'packages/cli/src/main.ts', args: ['demo'], about: 'services, router and client in one go' },
  test: { entry: 'scripts/test.ts', about: 'everything check does, then processes, fuzz corpora, capture, interop' },
  check: { entry: 'scripts/check.ts', about: 'types, lint, tidy, spec citations, unit and simulation tests' },
  bench: { entry: 'tests/bench/main.ts', about: 'throughput and request rate beside other stacks' },
  links: { entry: 'tests/bench/links/main.ts', about: 'several paths over emulated links, beside Linux MPTCP (root)' },
  peers: { entry: 'tests/bench/peers/main.ts', about: 'every QUIC that can be had, case by case, beside ours' },
  guard: { entry: 'tests/bench/guard/main.ts', about: 'this tree against the committed result' },
  workers: { entry: 'tests/bench/workers/main.ts', about: 'what a second worker thread brings' },
  sim: { entry: 'packages/lab/bin/sim.ts', about: 'seeded simulations in virtual time' },
  docs: { entry: 'scripts/docs.ts', native: false, about: 'the API reference as HTML' },
  spec: { entry: 'scripts/spec.ts', native: false, about: 'requirements of the RFCs: cited, tested, missing' },
  fuzz: { entry: 'tests/fuzz/main.ts', about: 'fuzz one target' },
  soak: { entry: 'tests/soak/main.ts', about: 'the router under load while clients and services are killed' },
  interop: { entry: 'tests/interop/main.ts', about: 'against aioquic, quic-go, quinn, quiche, ngtcp2' },
}

const [name, ...rest] = process.argv.slice(2)
const command = Object.hasOwn(commands, name ?? '') ? commands[name] : undefined
if (command === undefined) {
  const lines = Object.entries(commands).map(([key, { about }]) => `  ${key.padEnd(8)} ${about}`)
  process.stderr.write(
    `quicether: ${name === undefined ? 'no command given' : `unknown command "${name}"`}. Commands:\n${lines.join('\n')}\n`,
  )
  process.exit(2)
}
const entry = path.join(root, command.entry)
if (!existsSync(entry)) {
  process.stderr.write(
    `quicether: ${command.entry} is not in this checkout, so "${name}" cannot run. Update or clone again.\n`,
  )
  process.exit(1)
}

bootstrap({ native: command.native !== false }).then(start, failBootstrap)

function start(node) {
  const env = {
    ...process.env,
    PATH: `${path.join(root, 'node_modules', '.bin')}${path.delimiter}${process.env.PATH ?? ''}`,
  }
  const child = spawn(node, [entry, ...(command.args ?? []), ...rest], { stdio: 'inherit', env })
  // A terminal sends Ctrl-C to the whole group; a supervisor only to us. Either way the child decides when to end.
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    process.stderr.write(`quicether: cannot start ${node}: ${error.message}\n`)
    process.exit(1)
  })
  child.on('close', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}
