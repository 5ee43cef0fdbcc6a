/** A client of the workers' benchmark, a process of its own: keeps requests in flight until it is told to stop. */
import { Http3Client } from '@quicether/http3'
import { connect } from '@quicether/net'

/** What a load is told to do. */
export interface LoadPlan {
  readonly port: number
  readonly ca: string
  readonly connections: number
  /** Requests in flight on each connection. */
  readonly inFlight: number
}

/** What it has done between `start` and `stop`. */
export interface LoadResult {
  readonly requests: number
  readonly bytes: number
  readonly cpuMs: number
}

export type LoadOrder = { readonly kind: 'plan'; readonly plan: LoadPlan } | { readonly kind: 'start' | 'stop' }
export type LoadReport = { readonly kind: 'ready' } | ({ readonly kind: 'result' } & LoadResult)

let requests = 0
let bytes = 0
let isOver = false

async function askOn(client: Http3Client): Promise<void> {
  while (!isOver) {
    const { body } = await client.request({ method: 'GET', path: '/', authority: 'localhost' })
    for await (const chunk of body) bytes += chunk.length
    requests++
  }
}

async function open({ port, ca }: LoadPlan): Promise<Http3Client> {
  const certificate = { pem: ca, label: 'cert.pem' }
  const connection = await connect({
    host: '127.0.0.1',
    port,
    alpn: ['h3'],
    serverName: 'localhost',
    ca: [certificate],
  })
  return new Http3Client(connection)
}

async function run(plan: LoadPlan): Promise<void> {
  const clients: Http3Client[] = []
  for (let i = 0; i < plan.connections; i++) clients.push(await open(plan))
  process.send?.({ kind: 'ready' } satisfies LoadReport)
  await told('start')
  const before = process.cpuUsage()
  requests = 0
  bytes = 0
  for (const client of clients)
    for (let i = 0; i < plan.inFlight; i++) askOn(client).catch((error: unknown) => isOver || crash(error))
  await told('stop')
  isOver = true
  const { user, system } = process.cpuUsage(before)
  const result: LoadReport = { kind: 'result', requests, bytes, cpuMs: (user + system) / 1000 }
  process.send?.(result, () => process.exit(0))
}

function told(kind: LoadOrder['kind']): Promise<LoadOrder> {
  return new Promise((resolve) => {
    const onMessage = (order: LoadOrder): void => {
      if (order.kind !== kind) return
      process.off('message', onMessage)
      resolve(order)
    }
    process.on('message', onMessage)
  })
}

function crash(error: unknown): void {
  console.error(error)
  process.exit(1)
}

const order = await told('plan')
if (order.kind === 'plan') await run(order.plan)
