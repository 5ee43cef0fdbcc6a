/** One end of the test of real interfaces: `serve PORTFILE` echoes, `dial HOST PORT CERTIFICATE` reports its paths. */
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, generateCertificate, listen, type QuicConnection } from '../../packages/net/src/index.ts'

const alpn = ['echo']
const idleTimeoutUs = 120_000_000
const chunkBytes = 4_096

function echo(connection: QuicConnection): void {
  const { transport } = connection
  connection.onEvent = (event) => {
    if (event.kind !== 'readable') return
    const status = transport.read(event.id, (chunk) => void transport.write(event.id, chunk.slice()))
    if (status === 'finished') transport.finish(event.id)
  }
}

/** Listens on everything, announces the second address, writes port and certificate where they are looked for. */
async function serve(file: string, announced: string): Promise<void> {
  const made = generateCertificate({ names: ['localhost'] })
  const certificate = { pem: made.certificatePem, label: 'generated' }
  const server = await listen(
    {
      addresses: ['0.0.0.0'],
      port: 0,
      alpn,
      identities: [{ certificate, privateKey: { pem: made.privateKeyPem, label: 'generated' } }],
      announce: [{ address: announced }],
      config: { maxPaths: 4, idleTimeoutUs },
    },
    echo,
  )
  writeFileSync(file, JSON.stringify({ port: server.port, certificate: made.certificatePem }))
}

/** Keeps sending and checking an echo; prints a line of JSON about itself all the time. */
async function dial(host: string, file: string): Promise<void> {
  const { port, certificate } = JSON.parse(readFileSync(file, 'utf8')) as { port: number; certificate: string }
  const connection = await connect({
    host,
    port,
    alpn,
    serverName: 'localhost',
    ca: [{ pem: certificate, label: 'generated' }],
    config: { maxPaths: 4, idleTimeoutUs },
    paths: { interfaces: ['qa'], pollMs: 50, stableMs: 200, retryMs: 200, retryMaxMs: 2_000, attemptsPerMinute: 120 },
  })
  const { transport } = connection
  const id = transport.openStream('bidirectional')
  if (id === undefined) throw new Error('no stream')
  let sent = 0
  let echoed = 0
  let wrong = 0
  const send = (): void => {
    if (sent - echoed > 8 * chunkBytes) return
    sent += transport.write(id, new Uint8Array(chunkBytes).fill((sent / chunkBytes) & 255))
  }
  connection.onEvent = (event) => {
    if (event.kind !== 'readable') return
    transport.read(event.id, (chunk) => {
      for (const byte of chunk) if (byte !== (Math.floor(echoed++ / chunkBytes) & 255)) wrong++
    })
  }
  setInterval(() => {
    if (!connection.isClosed) send()
    const open = connection.paths().filter(({ state, isValidated }) => isValidated && state === 'active')
    const line = {
      open: open.map(({ localAddress, remoteAddress }) => `${localAddress}>${remoteAddress}`).sort(),
      health: connection.health.state,
      closed: connection.closeReason ?? null,
      problems: connection.pathPolicy?.plans().flatMap(({ lastError }) => (lastError ? [lastError.message] : [])) ?? [],
      echoed,
      wrong,
    }
    process.stdout.write(`${JSON.stringify(line)}\n`)
  }, 20)
}

const [mode, first = '', second = ''] = process.argv.slice(2)
await (mode === 'serve' ? serve(first, second) : dial(first, second))
