/** Counts what the engine allocates per packet in bulk transfer: two endpoints, real cryptography, no sockets. */
import { getHeapStatistics } from 'node:v8'
import {
  createClientContext,
  createNativeCrypto,
  createServerContext,
  generateCertificate,
  systemRandom,
} from '@quicether/native'
import {
  type Connection,
  createTransmitBatch,
  createTuple,
  type DatagramBatch,
  Endpoint,
  type EndpointEvent,
  type PathTuple,
  type TransmitBatch,
} from '@quicether/transport'

/**
 * Hard bar for the bytes allocated per packet, a ratchet: lower it with the code. Most of it are the views that copying
 * into and out of stream buffers takes, and the lists of acknowledged ranges.
 */
export const ALLOCATED_BYTES_PER_PACKET_MAX = 450

const TRAIN_DATAGRAMS = 48
const SLAB_BYTES = 65_536
const CHUNK = new Uint8Array(64 * 1024)
const ONE_WAY_US = 200
/** Rounds without a delivered byte after which the transfer counts as stuck. */
const IDLE_ROUNDS_MAX = 100_000

export interface AllocationResult {
  readonly packets: number
  readonly bytesDelivered: number
  readonly bytesAllocated: number
  /** Sender and receiver together, per packet of either. */
  readonly bytesAllocatedPerPacket: number
}

/** Windows measured one after the other; the best counts, since code that is not compiled yet allocates more. */
const WINDOWS = 6

/** Sends `bytes` from client to server in each of several windows, after a warm-up, and returns the leanest window. */
export function measureAllocation(bytes: number): AllocationResult {
  const world = new DirectWorld()
  let best: AllocationResult | undefined
  try {
    world.transfer(bytes)
    for (let window = 0; window < WINDOWS; window++) {
      const packetsBefore = world.packets
      const before = allocatedBytes()
      world.transfer(bytes)
      const bytesAllocated = allocatedBytes() - before
      const packets = world.packets - packetsBefore
      const bytesAllocatedPerPacket = bytesAllocated / packets
      if (best !== undefined && !(bytesAllocatedPerPacket < best.bytesAllocatedPerPacket)) continue
      best = { packets, bytesDelivered: bytes, bytesAllocated, bytesAllocatedPerPacket }
    }
  } finally {
    world.close()
  }
  if (best === undefined) throw new Error('nothing was measured')
  return best
}

function allocatedBytes(): number {
  return (getHeapStatistics() as { total_allocated_bytes?: number }).total_allocated_bytes ?? Number.NaN
}

/** Carries trains from one endpoint's slab straight into the other: what is counted is the engine and little else. */
class DirectWorld {
  packets = 0
  readonly #client: Endpoint
  readonly #server: Endpoint
  readonly #connection: Connection
  readonly #release: () => void
  readonly #out: TransmitBatch = createTransmitBatch(new Uint8Array(SLAB_BYTES), TRAIN_DATAGRAMS)
  readonly #batch: DatagramBatch
  readonly #toServer: PathTuple
  readonly #toClient: PathTuple
  #nowUs = 1_000_000
  #received = 0
  #isConnected = false
  #isClosing = false
  #stream = -1

  constructor() {
    const made = generateCertificate({ names: ['localhost'] })
    const certificate = { pem: made.certificatePem, label: 'certificate' }
    const privateKey = { pem: made.privateKeyPem, label: 'key' }
    const clientTls = createClientContext({ trust: { kind: 'ca', ca: [certificate] } })
    const serverTls = createServerContext({ identities: [{ certificate, privateKey }], alpn: ['bulk'] })
    const [clientCrypto, serverCrypto] = [createNativeCrypto(), createNativeCrypto()]
    this.#release = () => {
      for (const owner of [clientTls, serverTls, clientCrypto, serverCrypto]) owner.close()
    }
    this.#client = new Endpoint({ crypto: clientCrypto, random: systemRandom() })
    this.#server = new Endpoint({ crypto: serverCrypto, random: systemRandom(), server: { tls: serverTls } })
    this.#toServer = tuple('127.0.0.1', 1_000, '127.0.0.2', 2_000)
    this.#toClient = tuple('127.0.0.2', 2_000, '127.0.0.1', 1_000)
    this.#batch = {
      bytes: this.#out.bytes,
      offsets: new Int32Array(TRAIN_DATAGRAMS),
      lengths: new Int32Array(TRAIN_DATAGRAMS),
      ecns: new Uint8Array(TRAIN_DATAGRAMS),
      tuples: new Array<PathTuple>(TRAIN_DATAGRAMS).fill(this.#toClient),
      count: 0,
    }
    const options = { tls: clientTls, tuple: this.#toServer, serverName: 'localhost', alpn: ['bulk'] }
    this.#connection = this.#client.connect(options, this.#nowUs)
    this.#turnUntil(() => this.#isConnected)
    this.#stream = this.#connection.openStream('unidirectional') ?? -1
  }

  transfer(bytes: number): void {
    const target = this.#received + bytes
    let left = bytes
    this.#turnUntil(() => {
      while (left > 0) {
        const chunk = left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left)
        const accepted = this.#connection.write(this.#stream, chunk)
        left -= accepted
        if (accepted < chunk.length) break
      }
      return this.#received >= target
    })
  }

  close(): void {
    this.#isClosing = true
    this.#client.closeAll(0, '')
    this.#server.closeAll(0, '')
    this.#turn()
    this.#release()
  }

  #turnUntil(isDone: () => boolean): void {
    let idle = 0
    let seen = this.#received
    while (!isDone()) {
      this.#turn()
      idle = this.#received > seen ? 0 : idle + 1
      seen = this.#received
      if (idle > IDLE_ROUNDS_MAX) throw new Error(`the transfer is stuck after ${seen} bytes`)
    }
  }

  /** One round: each side sends what it has, and time passes. */
  #turn(): void {
    this.#shuttle(this.#client, this.#server, this.#toClient)
    this.#nowUs += ONE_WAY_US
    this.#shuttle(this.#server, this.#client, this.#toServer)
    this.#nowUs += ONE_WAY_US
    for (const endpoint of [this.#client, this.#server]) {
      if (endpoint.pollTimeout() <= this.#nowUs) endpoint.handleTimeout(this.#nowUs)
    }
  }

  #shuttle(from: Endpoint, to: Endpoint, arriving: PathTuple): void {
    while (from.pollTransmit(this.#out, this.#nowUs)) {
      this.#fill(this.#batch, arriving)
      to.handleDatagrams(this.#batch, this.#nowUs)
      this.#drain(to)
    }
    this.#drain(from)
  }

  #fill(batch: DatagramBatch, arriving: PathTuple): void {
    const { length, segmentSize } = this.#out
    let count = 0
    for (let at = 0; at < length; at += segmentSize) {
      batch.offsets[count] = at
      batch.lengths[count] = Math.min(segmentSize, length - at)
      batch.tuples[count] = arriving
      count++
    }
    batch.count = count
    this.packets += count
  }

  #drain(endpoint: Endpoint): void {
    for (let event = endpoint.pollEvent(); event !== undefined; event = endpoint.pollEvent()) this.#onEvent(event)
  }

  #onEvent(event: EndpointEvent): void {
    if (event.kind !== 'connection') return
    const { connection, event: what } = event
    if (what.kind === 'connected' && connection === this.#connection) this.#isConnected = true
    if (what.kind === 'closed' && !this.#isClosing)
      throw new Error(`the connection closed: ${JSON.stringify(what.reason)}`)
    if (what.kind === 'readable') connection.read(what.id, this.#onChunk)
  }

  readonly #onChunk = (chunk: Uint8Array): void => {
    this.#received += chunk.length
  }
}

function tuple(localAddress: string, localPort: number, remoteAddress: string, remotePort: number): PathTuple {
  return createTuple({ localAddress, localPort, remoteAddress, remotePort, interfaceIndex: 0, socket: 0 })
}
