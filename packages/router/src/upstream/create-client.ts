/** The client for an address in the version of HTTP that is spoken there. */
import { readFileSync } from 'node:fs'
import type { ServiceConfig } from '../config/schema.ts'
import { messageOf, UserError } from '../user-error.ts'
import type { UpstreamAddress, UpstreamClient, UpstreamRequest, UpstreamResponse, UpstreamStats } from './client.ts'
import { Http1Client } from './http1-client.ts'
import { Http2Client } from './http2-client.ts'

/** Throws `UserError` when the authorities of the service cannot be read. */
export function createClient(config: ServiceConfig, url: string): UpstreamClient {
  const address: UpstreamAddress = {
    origin: new URL(url).origin,
    connections: config.connections,
    connectTimeoutMs: config.connect_timeout_ms,
    tls: { ca: readAuthorities(config), verify: config.verify, serverName: config.server_name },
  }
  switch (config.protocol) {
    case 'http1':
      return new Http1Client(address)
    case 'http2':
      return new Http2Client(address)
    case 'http3':
      return new LateClient(async () => {
        // Needs the native part, which routers with other services can do without.
        const { Http3UpstreamClient } = await import('./http3-client.ts')
        return new Http3UpstreamClient(address)
      })
  }
}

function readAuthorities(config: ServiceConfig): string | undefined {
  if (config.ca === undefined) return undefined
  try {
    return readFileSync(config.ca, 'utf8')
  } catch (error) {
    throw new UserError('ERR_CERTIFICATE', {
      what: `the authorities of service "${config.name}" cannot be read: ${messageOf(error)}`,
      where: config.ca,
      remedy: 'Name a PEM file in `ca`, or leave it out to trust the authorities of the system.',
      cause: error,
    })
  }
}

/** A client that is made when it is first needed. */
class LateClient implements UpstreamClient {
  readonly #make: () => Promise<UpstreamClient>
  #making: Promise<UpstreamClient> | undefined
  #client: UpstreamClient | undefined

  constructor(make: () => Promise<UpstreamClient>) {
    this.#make = make
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamResponse> {
    this.#making ??= this.#make()
    this.#client = await this.#making
    return await this.#client.exchange(request)
  }

  stats(): UpstreamStats {
    return this.#client?.stats() ?? { connected: 0, running: 0, queued: 0 }
  }

  async close(): Promise<void> {
    await (await this.#making)?.close()
  }
}
