/** What tests over real loopback sockets share: an echo server, its client, a round trip, and a link that can be cut. */
import assert from 'node:assert/strict'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { connect, type ConnectOptions } from '../connect.ts'
import type { QuicConnection } from '../connection.ts'
import { generateCertificate } from '../index.ts'
import { type ListenOptions, listen, type QuicListener } from '../listen.ts'

const made = generateCertificate({ names: ['localhost', '127.0.0.1', '::1'] })
/** Of the servers here; clients trust it. */
export const certificate: { readonly pem: string; readonly label: string } = {
  pem: made.certificatePem,
  label: 'cert.pem',
}
export const identity: NonNullable<ListenOptions['identities']>[number] = {
  certificate,
  privateKey: { pem: made.privateKeyPem, label: 'key.pem' },
}
export const alpn = ['loopback']
/** A busy machine takes its time; nothing here depends on it. */
const HANDSHAKE_TIMEOUT_MS = 60_000

function echo(connection: QuicConnection): void {
  const { transport } = connection
  connection.onEvent = (event) => {
    if (event.kind !== 'readable') return
    const status = transport.read(event.id, (chunk) => void transport.write(event.id, chunk.slice()))
    if (status === 'finished') transport.finish(event.id)
  }
}

/** A server on a free port of 127.0.0.1 that sends every stream back, unless told otherwise. */
export function serve(
  options: Partial<ListenOptions> = {},
  onConnection: (connection: QuicConnection) => void = echo,
): Promise<QuicListener> {
  return listen({ addresses: ['127.0.0.1'], port: 0, alpn, identities: [identity], ...options }, onConnection)
}

/** A client of such a server. */
export function dial(port: number, options: Partial<ConnectOptions> = {}): Promise<QuicConnection> {
  const handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS
  return connect({ host: '127.0.0.1', port, alpn, ca: [certificate], handshakeTimeoutMs, ...options })
}

/** Sends `request` on a new stream and resolves with how many bytes came back; `onBytes` sees the sum so far. */
export function ask(connection: QuicConnection, request: Uint8Array, onBytes?: (sum: number) => void): Promise<number> {
  const { transport } = connection
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const id = transport.openStream('bidirectional')
  assert.ok(id !== undefined)
  let sum = 0
  connection.onEvent = (event) => {
    if (event.kind === 'closed') reject(new Error(`closed: ${JSON.stringify(event.reason)}`))
    if (event.kind !== 'readable' || event.id !== id) return
    const status = transport.read(id, (chunk) => {
      sum += chunk.length
    })
    onBytes?.(sum)
    if (status === 'finished') resolve(sum)
  }
  transport.write(id, request)
  transport.finish(id)
  return promise
}

/** Sends `size` bytes to an echo server and resolves with how many came back. */
export function roundTrip(connection: QuicConnection, size: number): Promise<number> {
  return ask(connection, new Uint8Array(size))
}

/** Resolves once `isTrue`; the test's own timeout ends it otherwise. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** A relay in front of a server on 127.0.0.1: it can be cut without a trace, or send on from another address. */
export class Relay {
  readonly #serverPort: number
  readonly #front: Socket = createSocket('udp4')
  #back: Socket
  #client: { readonly port: number; readonly address: string } | undefined
  isCut = false

  /** Closes when the test ends. */
  constructor(t: TestContext, serverPort: number) {
    this.#serverPort = serverPort
    this.#back = this.#createBack()
    this.#front.on('message', (datagram, from) => {
      this.#client = from
      if (!this.isCut) this.#back.send(datagram, this.#serverPort, '127.0.0.1')
    })
    t.after(() => {
      this.#front.close()
      this.#back.close()
    })
  }

  #createBack(): Socket {
    const back = createSocket('udp4')
    back.on('message', (datagram) => {
      if (!this.isCut && this.#client !== undefined) this.#front.send(datagram, this.#client.port, this.#client.address)
    })
    return back
  }

  /** Listens on `address`; resolves with the port. */
  async start(address = '127.0.0.1'): Promise<number> {
    this.#front.bind(0, address)
    this.#back.bind(0, '127.0.0.1')
    await Promise.all([once(this.#front, 'listening'), once(this.#back, 'listening')])
    return this.#front.address().port
  }

  /** Goes on from another address towards the server, as a NAT that has rebound. */
  async rebind(address: string): Promise<void> {
    const back = this.#createBack()
    back.bind(0, address)
    await once(back, 'listening')
    this.#back.close()
    this.#back = back
  }
}
