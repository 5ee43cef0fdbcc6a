/** The promise API's view of a memory transport, and a pump that moves the network while a test awaits. */
import type { CloseReason, ConnectionEvent, StreamTransport } from '@quicether/transport'
import type { Http3Connection } from '../connection.ts'
import { MemoryNetwork, type MemoryNetworkOptions, type MemoryTransport } from './memory-transport.ts'

export class MemoryConnection implements Http3Connection {
  readonly transport: StreamTransport
  onEvent: ((event: ConnectionEvent) => void) | null
  readonly closed: Promise<CloseReason>
  readonly #memory: MemoryTransport

  constructor(transport: MemoryTransport) {
    const closed = Promise.withResolvers<CloseReason>()
    this.transport = transport
    this.#memory = transport
    this.onEvent = null
    this.closed = closed.promise
    transport.onEvent = (event) => {
      this.onEvent?.(event)
      if (event.kind === 'closed') closed.resolve(event.reason)
    }
  }

  close(code: number, reason: string): Promise<CloseReason> {
    this.#memory.close(code, reason)
    return this.closed
  }
}

export interface MemoryPair extends Disposable {
  readonly network: MemoryNetwork
  readonly client: MemoryConnection
  readonly server: MemoryConnection
}

/** A joined pair whose network moves by itself until it is disposed of. */
export function createMemoryPair(options: MemoryNetworkOptions = {}): MemoryPair {
  const network = new MemoryNetwork(options)
  let isStopped = false
  const pump = () => {
    for (let steps = 0; steps < 500 && network.step(); steps++);
    if (!isStopped) setImmediate(pump)
  }
  setImmediate(pump)
  return {
    network,
    client: new MemoryConnection(network.client),
    server: new MemoryConnection(network.server),
    [Symbol.dispose]: () => {
      isStopped = true
    },
  }
}
