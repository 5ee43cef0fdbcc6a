/** What a row of the matrix is, what is known when a cell has run, and the judgements that several rows share. */
import { bodySha256 } from './body.ts'
import type { Impairments } from './lossy-proxy.ts'
import type { Lack, Peer } from './peers.ts'
import type { QlogFacts } from './qlog-facts.ts'
import type {
  ClientResult,
  ClientSpec,
  ConnectionSpec,
  RequestSpec,
  ServerConnectionFacts,
  ServerSpec,
} from './spec.ts'
import type { WireFacts } from './wire-facts.ts'

/** Everything known after a cell has run; checks read it and add a sentence for each thing that is wrong. */
export interface Evidence {
  readonly client: ClientResult
  readonly server: readonly ServerConnectionFacts[]
  readonly wire: WireFacts
  readonly clientQlog: QlogFacts
  readonly serverQlog: QlogFacts
  /** Router case: what each service counted, asked directly over HTTP at the end. */
  readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly clientPeer: Peer
  readonly serverPeer: Peer
}

export interface Case {
  readonly name: string
  readonly proves: string
  readonly connections: readonly ConnectionSpec[]
  readonly client?: Partial<ClientSpec>
  readonly server?: Partial<ServerSpec>
  readonly certificate?: 'plain' | 'large'
  readonly host?: string
  /** `router`: the server is `quicether router` with the three demo services behind it. */
  readonly serverKind?: 'router'
  readonly network?: Impairments
  /** What client and server must be able to do; a pair that cannot is not asked. */
  readonly needs?: { readonly client?: readonly Lack[]; readonly server?: readonly Lack[] }
  /** A further reason why this pair cannot be asked, or undefined. */
  readonly unsupported?: (client: Peer, server: Peer) => string | undefined
  /** Sentences about what is wrong; none = passed. Checksums, statuses and wire rules are judged for every case. */
  readonly judge: (evidence: Evidence) => (string | false)[]
}

export const KB = 1024
export const MB = 1024 * KB

export const get = (bytes: number): RequestSpec => ({ method: 'GET', path: `/bytes/${bytes}` })
export const upload = (bytes: number): RequestSpec => ({ method: 'POST', path: '/upload', size: bytes })
export const echo = (bytes: number): RequestSpec => ({ method: 'POST', path: '/echo', size: bytes })
export const both: readonly RequestSpec[] = [get(MB), upload(MB)]

/** SHA-256 that the answer to this request must have, and the size. */
export function expectedAnswer(request: RequestSpec): { bytes: number; sha256: string } | undefined {
  if (request.path.startsWith('/bytes/')) {
    const bytes = Number(request.path.split('/')[2])
    return { bytes, sha256: bodySha256(bytes) }
  }
  if (request.path === '/echo') return { bytes: request.size ?? 0, sha256: bodySha256(request.size ?? 0) }
  return undefined
}

/** Why this pair is not asked this case; undefined = it is. */
export function reasonNotToAsk(test: Case, client: Peer, server: Peer): string | undefined {
  for (const lack of test.needs?.client ?? []) {
    if (client.clientLacks[lack] !== undefined) return client.clientLacks[lack]
  }
  for (const lack of test.needs?.server ?? []) {
    if (server.serverLacks[lack] !== undefined) return server.serverLacks[lack]
  }
  const sendsOnly = test.connections.every((plan) => plan.requests.every((request) => request.method === 'POST'))
  if (sendsOnly && server.serverLacks.uploads !== undefined) return server.serverLacks.uploads
  return test.unsupported?.(client, server)
}

/** The requests of a pair: where a side cannot do both directions in one connection, the downloads are left. */
export function connectionsFor(test: Case, client: Peer, server: Peer): readonly ConnectionSpec[] {
  if (client.clientLacks.uploads === undefined && server.serverLacks.uploads === undefined) return test.connections
  return test.connections.map((plan) => {
    const downloads = plan.requests.filter((request) => request.method === 'GET')
    return downloads.length === 0 ? plan : { ...plan, requests: downloads }
  })
}

export const spoke = (e: Evidence, version: number): string | false => {
  const wrong = e.client.connections.find((c) => c.version !== version)
  return (
    wrong !== undefined && `the client speaks version 0x${wrong.version.toString(16)}, not 0x${version.toString(16)}`
  )
}

export const lost = (e: Evidence): string | false =>
  e.wire.toClient.dropped + e.wire.toServer.dropped === 0 && 'the proxy dropped nothing: the case proved nothing'

/** Peers that do not tell their suite say null; one side has to tell. */
export const cipherIs =
  (word: string) =>
  (e: Evidence): (string | false)[] => {
    const told = [...e.client.connections, ...e.server].flatMap((c) => c.cipher ?? [])
    const normal = (text: string): string => text.replaceAll('_', '').toLowerCase()
    return [
      told.length === 0 && 'neither side tells its cipher suite',
      ...told.map((cipher) => !normal(cipher).includes(word) && `cipher is ${cipher}, not ${word}`),
    ]
  }

/** Judged by the qlog of both sides, or of the one that logs key updates. */
export function keysUpdated(e: Evidence): (string | false)[] {
  const clientTells = e.clientPeer.logsKeyUpdates !== false
  const serverTells = e.serverPeer.logsKeyUpdates !== false
  return [
    !clientTells && !serverTells && 'neither side logs key updates',
    clientTells && e.clientQlog.files === 0 && 'the client wrote no qlog',
    serverTells && e.serverQlog.files === 0 && 'the server wrote no qlog',
    clientTells && e.clientQlog.keyUpdates === 0 && 'the client log shows no key update',
    serverTells && e.serverQlog.keyUpdates === 0 && 'the server log shows no key update',
  ]
}
