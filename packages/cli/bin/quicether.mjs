#!/usr/bin/env node
/** The `quicether` command: hands over to a Node that runs TypeScript and to src/main.ts. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'

const cli = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const main = path.join(cli, 'src', 'main.ts')
const workspace = path.resolve(cli, '..', '..')
const pinned = path.join(workspace, 'node_modules', '.bin', 'node')
const nativeAddon = path.join(workspace, 'packages', 'native', 'quicether.node')
const isModern = Number.parseInt(process.versions.node, 10) >= 24

if (!isModern && !existsSync(pinned)) {
  stop(
    `Node ${process.versions.node} is older than 24 and the pinned Node is not installed. Run "npm run bootstrap" in ${workspace}.`,
  )
}
if (!existsSync(nativeAddon)) stop(`the native part is not built. Run "npm run bootstrap" in ${workspace}.`)

if (isModern) {
  process.argv[1] = main
  await import(pathToFileURL(main).href)
} else {
  const child = spawn(pinned, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('close', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}

function stop(message) {
  process.stderr.write(`quicether: ${message}\n`)
  process.exit(1)
}
