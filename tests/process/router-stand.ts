/** A router process with an admin endpoint, a service that the test steers, and HTTP/3 clients of it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Http3Client, type Http3Response } from '@quicether/http3'
import { connect, generateCertificate, type QuicConnection } from '@quicether/net'
import type { CliProcess } from './cli-process.ts'
import { scratchDirectory, startRouterProcess } from './cli-process.ts'

/** The service: answers at once with what it was asked, or at `/held…` in two parts with a wait between them. */
export interface Service {
  readonly port: number
  /** Header fields of the requests so far, by path. */
  readonly seen: Map<string, IncomingHttpHeaders>
  /** Lets the answer at a path go on. */
  release(path: string): void
}

export async function startService(t: TestContext, name: string): Promise<Service> {
  const seen = new Map<string, IncomingHttpHeaders>()
  const held = new Map<string, ServerResponse>()
  const server = createServer((incoming: IncomingMessage, response: ServerResponse) => {
    const path = incoming.url ?? ''
    seen.set(path, incoming.headers)
    incoming.resume()
    if (!path.startsWith('/held')) {
      response.end(`${name} ${path}`)
      return
    }
    held.set(path, response)
    response.write('first ')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  const release = (path: string): void => {
    const response = held.get(path)
    assert.ok(response !== undefined, `nobody asked for ${path}`)
    response.end('last')
  }
  return { port: address.port, seen, release }
}

export interface Stand {
  readonly directory: string
  readonly router: CliProcess
  readonly port: number
  /** `http://127.0.0.1:…` */
  readonly admin: string
  readonly certificate: ReturnType<typeof generateCertificate>
  /** Writes the configuration; the router notices by a reload. */
  configure(toml: string): void
}

/** Starts the router with `toml` in a file of its own and a certificate in files; the admin port is free to choose. */
export async function startStand(t: TestContext, toml: string, args: readonly string[] = []): Promise<Stand> {
  const directory = scratchDirectory(t)
  const certificate = writeCertificate(directory, 'first.test')
  const configure = (text: string): void => {
    // In one step: a router that watches must not see half of it. Waiting for something must not end the connection.
    writeFileSync(
      join(directory, 'router.toml.new'),
      `[router]\nport = 0\nidle_timeout_ms = 600000\ncertificate = "cert.pem"\nprivate_key = "key.pem"\n[admin]\nlisten = "127.0.0.1:0"\n${text}`,
    )
    renameSync(join(directory, 'router.toml.new'), join(directory, 'router.toml'))
  }
  configure(toml)
  const { process: router, port } = await startRouterProcess(t, directory, ['--config', 'router.toml', ...args])
  const admin = (await router.output(/admin +(http:\S+)/u))[1] ?? ''
  return { directory, router, port, admin, certificate, configure }
}

/** A new self-made certificate in `cert.pem` and `key.pem`. */
export function writeCertificate(directory: string, name: string): ReturnType<typeof generateCertificate> {
  const made = generateCertificate({ names: [name, '127.0.0.1'] })
  writeFileSync(join(directory, 'cert.pem'), made.certificatePem)
  writeFileSync(join(directory, 'key.pem'), made.privateKeyPem, { mode: 0o600 })
  return made
}

export interface Client {
  readonly connection: QuicConnection
  /** Status and text. */
  get(path: string, headers?: Record<string, string>): Promise<readonly [number, string]>
  /** The answer with its body unread. */
  open(path: string): Promise<Http3Response>
}

/** A connection that trusts `certificatePem`; the test's end closes it. */
export async function connectClient(t: TestContext, port: number, certificatePem: string): Promise<Client> {
  const connection = await connect({
    host: '127.0.0.1',
    port,
    alpn: ['h3'],
    ca: [{ pem: certificatePem, label: 'the certificate of the test' }],
    handshakeTimeoutMs: 60_000,
    idleTimeoutMs: 600_000,
  })
  t.after(() => connection.close(0x100, ''))
  const client = new Http3Client(connection)
  const open = (path: string, headers: Record<string, string> = {}): Promise<Http3Response> =>
    client.request({ method: 'GET', authority: `127.0.0.1:${port}`, path, headers: Object.entries(headers) })
  return {
    connection,
    open,
    get: async (path, headers) => {
      const response = await open(path, headers)
      return [response.status, await response.body.text()]
    },
  }
}

/** One request to the admin endpoint: status and text. */
export function askAdmin(
  url: string,
  options: { readonly method?: string; readonly headers?: Record<string, string>; readonly socketPath?: string } = {},
): Promise<readonly [number, string]> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method: 'GET', agent: false, ...options }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('error', reject)
      response.on('end', () => resolve([response.statusCode ?? 0, text]))
    })
    asked.on('error', reject)
    asked.end()
  })
}

/** Waits for a condition that time brings; fails after a minute. */
export async function eventually<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + 60_000
  while (performance.now() < deadline) {
    const value = await look()
    if (value !== undefined) return value
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return assert.fail(`it never happened: ${what}`)
}
