/** The driver when the kernel's queue is full again and again, and when it is closed at odd moments. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createClientContext, createNativeCrypto, createServerContext, systemRandom } from '@quicether/native'
import { type Connection, Endpoint, type EndpointEvent, type TransmitBatch } from '@quicether/transport'
import { Driver, nowUs } from './driver.ts'
import { generateCertificate } from './index.ts'
import { UdpPort } from './udp-port.ts'

const made = generateCertificate({ names: ['localhost'] })

/** Takes only every third train at the first offer; readiness of the real socket brings the next offer. */
class ReluctantPort extends UdpPort {
  offers = 0

  override send(batch: TransmitBatch): boolean {
    this.offers++
    if (this.offers % 3 !== 0 && batch.tuple !== undefined) {
      this.awaitWritable(batch.tuple.socket)
      return false
    }
    return super.send(batch)
  }
}

interface Side {
  readonly endpoint: Endpoint
  readonly driver: Driver
  readonly port: UdpPort
  readonly handle: number
  readonly boundPort: number
}

function side(port: UdpPort, onEvent: (event: EndpointEvent) => void, isServer: boolean): Side {
  const { handle, port: boundPort } = port.bind({ address: '127.0.0.1', port: 0 })
  const driver = new Driver({ port, onEvent })
  const tls = createServerContext({
    identities: [
      {
        certificate: { pem: made.certificatePem, label: 'c' },
        privateKey: { pem: made.privateKeyPem, label: 'k' },
      },
    ],
    alpn: ['x'],
  })
  const endpoint = new Endpoint({
    crypto: createNativeCrypto(),
    random: systemRandom(),
    onReady: driver.wake,
    ...(isServer ? { server: { tls } } : {}),
  })
  driver.start(endpoint, [handle])
  return { endpoint, driver, port, handle, boundPort }
}

function dial(client: Side, port: number): Connection {
  const tls = createClientContext({ trust: { kind: 'insecure' } })
  const tuple = client.port.tupleTo(client.handle, '127.0.0.1', port)
  return client.endpoint.connect({ tls, tuple, serverName: 'localhost', alpn: ['x'] }, nowUs())
}

test('a transfer survives a kernel queue that is full at two of three offers', async () => {
  const total = 3_000_000
  const done = Promise.withResolvers<number>()
  let received = 0
  const server = side(
    new ReluctantPort(),
    (event) => {
      if (event.kind !== 'connection' || event.event.kind !== 'readable') return
      const status = event.connection.read(event.event.id, (chunk) => {
        received += chunk.length
      })
      if (status === 'finished') done.resolve(received)
    },
    true,
  )
  let sent = 0
  const block = new Uint8Array(65_536)
  const write = (connection: Connection, id: number) => {
    while (sent < total) {
      const taken = connection.write(id, block.subarray(0, Math.min(block.length, total - sent)))
      if (taken === 0) return
      sent += taken
    }
    connection.finish(id)
  }
  const client = side(
    new ReluctantPort(),
    (event) => {
      if (event.kind !== 'connection') return
      const { connection } = event
      if (event.event.kind === 'connected') write(connection, connection.openStream('unidirectional') ?? -1)
      if (event.event.kind === 'writable' && sent < total) write(connection, event.event.id)
    },
    false,
  )
  dial(client, server.boundPort)
  assert.equal(await done.promise, total)
  assert.ok(client.port.stats.blocked > 10)
  client.driver.close()
  server.driver.close()
})

/** One of its sockets takes nothing and never becomes writable, like that of a device without a carrier. */
class StuckPort extends UdpPort {
  stuck = -1

  override send(batch: TransmitBatch): boolean {
    return batch.tuple?.socket !== this.stuck && super.send(batch)
  }
}

test('a socket that takes nothing does not hold up what goes over another one', async () => {
  const server = side(new UdpPort(), () => {}, true)
  const port = new StuckPort()
  const other = port.bind({ address: '127.0.0.2', port: 0 })
  const connected = Promise.withResolvers<Connection>()
  const client = side(
    port,
    (event) => {
      if (event.kind === 'connection' && event.event.kind === 'connected') connected.resolve(event.connection)
    },
    false,
  )
  client.driver.watch(other.handle)
  port.stuck = client.handle
  dial(client, server.boundPort)
  const second = dial({ ...client, handle: other.handle }, server.boundPort)
  assert.equal(await connected.promise, second)
  assert.ok(port.stats.trainsDropped > 0)
  client.driver.close()
  server.driver.close()
})

test('a driver closed by its own event handler stops quietly', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const server = side(new UdpPort(), () => {}, true)
  const client = side(
    new UdpPort(),
    (event) => {
      if (event.kind !== 'connection' || event.event.kind !== 'connected') return
      client.driver.close()
      client.driver.close()
      client.driver.wake()
      resolve()
    },
    false,
  )
  dial(client, server.boundPort)
  await promise
  server.driver.close()
})
