/** A computer with an endpoint: host, driver, cryptography and the toy application of each connection, in one piece. */
import {
  type Connection,
  type ConnectOptions,
  Endpoint,
  type EndpointEvent,
  type EndpointOptions,
  type CryptoPort,
  type Micros,
  type RandomSource,
  type TlsClientContext,
  type TlsServerContext,
} from '@quicether/transport'
import {
  createFakeCrypto,
  createFakeTls,
  createSeededRandom,
  type FakeCrypto,
  type FakeCryptoOptions,
  type FakeTlsOptions,
} from '@quicether/transport/testing'
import { ConnectionApp } from './connection-app.ts'
import { EndpointDriver } from './driver.ts'
import type { Host } from './host.ts'

/** Cryptography of one party. The fake by default; a real one makes a run slower and not repeatable byte for byte. */
export interface PartyCrypto {
  readonly crypto: CryptoPort
  readonly client: TlsClientContext
  readonly server: TlsServerContext
  readonly random: RandomSource
  /** Set for the fake: lets a checker count what is left open. */
  readonly fake?: FakeCrypto
}

/** `incarnation` counts restarts: the endpoint's own keys stay the same (as from a file), everything else is new. */
export type PartyCryptoFactory = (name: string, seed: number, incarnation: number) => PartyCrypto

/** The default: toy cryptography, deterministic, strict about nonces and closed keys. */
export function fakePartyCrypto(
  tls: Omit<FakeTlsOptions, 'crypto' | 'seed'> = {},
  options: FakeCryptoOptions = {},
): PartyCryptoFactory {
  return (name, seed, incarnation) => {
    const fake = createFakeCrypto(createSeededRandom(seed).fork(`keys ${name}`).uint32(), options)
    const random = createSeededRandom(seed).fork(`party ${name} ${incarnation}`)
    const contexts = createFakeTls({ ...tls, crypto: fake, seed: random.uint32() })
    return { crypto: fake, fake, random, client: contexts.client, server: contexts.server }
  }
}

export interface PartyOptions {
  readonly host: Host
  readonly port?: number
  readonly createCrypto?: PartyCryptoFactory
  /** How often this party has been restarted. Default 0. */
  readonly incarnation?: number
  readonly config?: EndpointOptions['config']
  /** Present = accepts connections. */
  readonly server?: Partial<NonNullable<EndpointOptions['server']>>
  readonly receiveDelayUs?: Micros
  readonly datagramsMax?: number
  /** Told of each connection as it comes into being, before its first event. */
  readonly onConnection?: (app: ConnectionApp) => void
  readonly observe?: EndpointOptions['observe']
}

export class Party {
  readonly host: Host
  readonly crypto: PartyCrypto
  readonly driver: EndpointDriver<EndpointEvent>
  readonly endpoint: Endpoint
  /** Connections not drained yet. */
  readonly apps = new Map<Connection, ConnectionApp>()
  connectionsDrained = 0
  #named = 0
  readonly #name: string
  readonly #onConnection: ((app: ConnectionApp) => void) | undefined

  constructor(options: PartyOptions) {
    const { host } = options
    this.host = host
    this.#name = (options.incarnation ?? 0) === 0 ? host.name : `${host.name}.${options.incarnation}`
    this.crypto = (options.createCrypto ?? fakePartyCrypto())(host.name, host.world.seed, options.incarnation ?? 0)
    this.#onConnection = options.onConnection
    this.driver = new EndpointDriver<EndpointEvent>({
      host,
      port: options.port ?? 0,
      receiveDelayUs: options.receiveDelayUs ?? 0,
      datagramsMax: options.datagramsMax ?? 48,
      onEvent: (event, nowUs) => this.#onEvent(event, nowUs),
    })
    this.endpoint = new Endpoint({
      crypto: this.crypto.crypto,
      random: this.crypto.random,
      config: options.config ?? {},
      onReady: () => this.driver.wake(),
      ...(options.server === undefined ? {} : { server: { tls: this.crypto.server, ...options.server } }),
      ...(options.observe === undefined ? {} : { observe: options.observe }),
    })
    this.driver.attach(this.endpoint)
  }

  /** Connects to an address and port of another host. Throws when no interface of the right family is up. */
  connect(remoteAddress: string, remotePort: number, options: Partial<ConnectOptions> = {}): ConnectionApp {
    const local = this.host.defaultAddress(remoteAddress)
    if (local === undefined) throw new Error(`host ${this.host.name} has no address to reach ${remoteAddress} from`)
    const tuple = this.host.tuple(local, this.driver.port, remoteAddress, remotePort)
    const connection = this.endpoint.connect(
      { tls: this.crypto.client, serverName: 'server.test', alpn: ['test'], tuple, ...options },
      this.host.world.nowUs,
    )
    return this.#adopt(connection, true)
  }

  #adopt(connection: Connection, isClient: boolean): ConnectionApp {
    const app = new ConnectionApp(this.host.world, connection, `${this.#name}#${this.#named++}`, isClient)
    this.apps.set(connection, app)
    this.#onConnection?.(app)
    return app
  }

  #onEvent(event: EndpointEvent, nowUs: Micros): void {
    if (event.kind === 'incoming') this.#adopt(event.connection, false)
    else if (event.kind === 'drained') {
      if (!this.apps.delete(event.connection)) throw new Error(`${this.host.name}: a connection drained twice`)
      this.connectionsDrained++
    } else {
      const app = this.apps.get(event.connection)
      if (app === undefined)
        throw new Error(`${this.host.name}: event ${event.event.kind} of a connection that is gone`)
      app.handle(event.event, nowUs)
    }
  }
}
