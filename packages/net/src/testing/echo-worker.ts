/** A worker for tests: answers each stream with who it is and what it was sent; `fail` makes it fail. */
import type { Identity } from '@quicether/native'
import type { QuicConnection } from '../connection.ts'
import { listen } from '../listen.ts'
import type { WorkerSeat } from '../workers/seat.ts'
import type { WorkerService } from '../workers/worker-module.ts'

/** `seat.data` of an echo worker. */
export interface EchoData {
  readonly identity: Identity
  /** Part of each answer. */
  readonly label: string
  readonly retry?: 'always' | 'never'
  /** The module fails instead of serving. */
  readonly isBroken?: boolean
  /** Announced to clients with several paths; fails where workers do not listen. */
  readonly announce?: string
}

/** Who answered. */
export interface EchoAnswer {
  readonly index: number
  readonly generation: number
  readonly label: string
  readonly text: string
}

/** The module's function. */
export async function serve(seat: WorkerSeat): Promise<WorkerService> {
  const { identity, label, retry = 'never', isBroken = false, announce } = seat.data as EchoData
  if (isBroken) throw new Error(`the module of ${label} is broken`)
  const answer = (text: string): Uint8Array => {
    if (text === 'fail') setImmediate(() => fail(seat.index))
    const { index, generation } = seat
    return new TextEncoder().encode(JSON.stringify({ index, generation, label, text } satisfies EchoAnswer))
  }
  const listener = await listen(
    {
      port: 0,
      identities: [identity],
      alpn: ['echo'],
      earlyData: true,
      accept: { retry },
      config: { maxPaths: 4 },
      seat,
    },
    (connection) => echo(connection, answer),
  )
  if (announce !== undefined) listener.announceAddress(announce)
  seat.onTold = (value) => seat.tell(value)
  return { close: (graceMs) => listener.close({ graceMs }) }
}

function fail(index: number): never {
  throw new Error(`worker ${index} was asked to fail`)
}

function echo(connection: QuicConnection, answer: (text: string) => Uint8Array): void {
  const { transport } = connection
  const texts = new Map<number, string>()
  connection.onEvent = (event) => {
    if (event.kind !== 'readable') return
    const status = transport.read(event.id, (chunk) => {
      texts.set(event.id, (texts.get(event.id) ?? '') + new TextDecoder().decode(chunk))
    })
    if (status !== 'finished') return
    transport.write(event.id, answer(texts.get(event.id) ?? ''))
    transport.finish(event.id)
    texts.delete(event.id)
  }
}
