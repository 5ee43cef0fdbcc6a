/** `quicether capture decode` on a recorded transfer over two paths, and on what is no capture. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  connect,
  generateCertificate,
  listen,
  openDiagnostics,
  PcapngWriter,
  type QuicConnection,
} from '@quicether/net'
import { createTuple } from '@quicether/transport'
import { assertExplained, runCli, scratchDirectory } from './cli-process.ts'
import { syntheticExchange } from './synthetic-quic.ts'

const BODY_BYTES = 60_000
const alpn = ['source']

/** Records at the client a download over two paths into `client.pcapng` and `client.keys`. */
async function record(directory: string): Promise<void> {
  const made = generateCertificate({ names: ['127.0.0.1'] })
  const certificate = { pem: made.certificatePem, label: 'cert.pem' }
  const identities = [{ certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }]
  const config = { maxPaths: 3, packetScheduler: 'rr' } as const
  const server = await listen({ addresses: ['127.0.0.1'], port: 0, alpn, identities, config }, (connection) => {
    connection.onEvent = (event) => {
      if (event.kind !== 'readable' || connection.transport.read(event.id, () => {}) !== 'finished') return
      connection.transport.write(event.id, new Uint8Array(BODY_BYTES))
      connection.transport.finish(event.id)
    }
  })
  const { keyLog, tap, close } = openDiagnostics({
    captureFile: join(directory, 'client.pcapng'),
    keylogFile: join(directory, 'client.keys'),
  })
  const client = await connect({
    host: '127.0.0.1',
    port: server.port,
    alpn,
    ca: [certificate],
    config,
    ...(keyLog === undefined ? {} : { keyLog }),
    ...(tap === undefined ? {} : { tap }),
  })
  await client.openPath({ localAddress: '127.0.0.2' })
  for (let round = 0; round < 3; round++) await download(client)
  await client.close(0, 'done')
  await server.close()
  await close()
}

async function download(client: QuicConnection): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { transport } = client
  const id = transport.openStream('bidirectional') ?? assert.fail('no stream')
  client.onEvent = (event) => {
    if (event.kind === 'readable' && transport.read(id, () => {}) === 'finished') resolve()
  }
  transport.write(id, new Uint8Array(1))
  transport.finish(id)
  await promise
}

/** The capture without its secrets. */
function closed(capture: Buffer): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at < capture.length; at += capture.readUInt32LE(at + 4)) {
    if (capture.readUInt32LE(at) !== 10) blocks.push(capture.subarray(at, at + capture.readUInt32LE(at + 4)))
  }
  return Buffer.concat(blocks)
}

test('a capture of two paths is printed packet by packet, with the frames of both paths', async (t) => {
  const directory = scratchDirectory(t)
  await record(directory)
  const { code, stdout, stderr } = await runCli(t, directory, ['capture', 'decode', 'client.pcapng'])
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(stdout, /^#1 path 1 is 127\.0\.0\.2:\d+ → 127\.0\.0\.1:\d+$/mu)
  assert.match(stdout, /client → server {2}path 1 {2}1RTT 0 {2}1200 B {2}path_challenge data=[0-9a-f]{16}/u)
  assert.match(stdout, /server → client {2}path 1 {2}1RTT \d+ {2}\d+ B {2}.*path_response/u)
  assert.match(stdout, /server → client {2}path 1 .*stream \d+ \[\d+, \d+\)/u)
  assert.match(stdout, /path_ack of path 1 \d+/u)
  assert.match(stdout, /packets of 1 connection, (\d+) read$/mu)
  assert.doesNotMatch(stdout, /not read/u)

  const only = await runCli(t, directory, ['capture', 'decode', 'client.pcapng', '--path', '1', '--json'])
  const rows = only.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const packets = rows.filter(({ type }) => type === 'packet')
  assert.ok(packets.length > 10)
  assert.ok(packets.every(({ path, frames }) => path === 1 && Array.isArray(frames)))
  assert.equal(rows.at(-1)?.['type'], 'summary')

  writeFileSync(join(directory, 'closed.pcapng'), closed(readFileSync(join(directory, 'client.pcapng'))))
  const blind = await runCli(t, directory, ['capture', 'decode', 'closed.pcapng', '--summary'])
  assert.match(blind.stdout, /\d+ not read: no keys; the file has no secrets: give a key log with --keys/u)
  const keyed = await runCli(t, directory, ['capture', 'decode', 'closed.pcapng', '--keys', 'client.keys', '--summary'])
  assert.doesNotMatch(keyed.stdout, /not read/u)
})

test('what cannot be decoded is named with place and remedy, after all that could be', async (t) => {
  const directory = scratchDirectory(t)
  const decode = (...args: string[]) => runCli(t, directory, ['capture', 'decode', ...args])
  assertExplained(await decode('missing.pcapng'), 1, /there is no such file \(missing\.pcapng\)/u)
  writeFileSync(join(directory, 'text'), 'this is no capture')
  assertExplained(await decode('text'), 1, /no pcapng file \(at byte 0\) \(text\)/u)
  writeFileSync(join(directory, 'classic'), Buffer.from('d4c3b2a1020004000000000000000000', 'hex'))
  assertExplained(await decode('classic'), 1, /classic pcap file; convert it with `editcap/u)
  assertExplained(await decode('text', '--path', 'one'), 2, /--path.*'one'/u)
  assertExplained(await decode(), 2, /missing required argument 'file'/u)
  assertExplained(await decode('text', '--keys', 'text'), 1, /no secrets of TLS 1\.3 \(text\)/u)
  assertExplained(await decode('text', '--keys', 'nowhere'), 1, /no such file \(nowhere\)/u)

  await record(directory)
  const whole = readFileSync(join(directory, 'client.pcapng'))
  writeFileSync(join(directory, 'cut.pcapng'), whole.subarray(0, whole.length - 100))
  const cut = await decode('cut.pcapng')
  assert.equal(cut.code, 1)
  assert.match(cut.stderr, /ends in the middle of a block.*\(at byte \d+\) \(cut\.pcapng\)/u)
  assert.match(cut.stdout, /packets of 1 connection/u)
})

test('packets of an exchange sealed by other hands are read, of a client with empty connection IDs, too', async (t) => {
  const directory = scratchDirectory(t)
  const tuple = createTuple({
    localAddress: '2001:db8::1',
    localPort: 40_000,
    remoteAddress: '2001:db8:0:0:1::2',
    remotePort: 4433,
    interfaceIndex: 0,
    socket: 0,
  })
  for (const clientCidBytes of [8, 0]) {
    const file = `${clientCidBytes}.pcapng`
    const writer = new PcapngWriter({ path: join(directory, file), epochOffsetUs: 0 })
    const exchange = syntheticExchange({ path: '/', responseText: 'good day', clientCidBytes })
    for (const line of exchange.keylog) writer.keylogLine(line)
    for (const [index, { direction, bytes }] of exchange.datagrams.entries()) {
      writer.datagram(direction, tuple, bytes, 0, bytes.length, 0, 1_000 * index)
    }
    await writer.close()
    const { code, stdout } = await runCli(t, directory, ['capture', 'decode', file])
    assert.equal(code, 0)
    assert.match(stdout, /^#1 path 0 is \[2001:db8::1\]:40000 → \[2001:db8::1:0:0:2\]:4433$/mu)
    assert.match(stdout, /^\+0\.001000 {2}#1 server → client .*1RTT 0 .*stream 3 \[0, 3\)/mu)
    assert.match(stdout, /server → client .*1RTT \d+ .*stream 0 \[0, \d+\) fin/u)
    assert.doesNotMatch(stdout, /not read/u)
  }
})
