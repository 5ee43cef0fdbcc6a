/** Our captures open in Wireshark's own dissector, decrypted, with nothing but the file. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Http3Client, serveHttp3 } from '@quicether/http3'
import { connect, generateCertificate, listen, openDiagnostics, PcapngWriter } from '@quicether/net'
import { createTuple } from '@quicether/transport'
import { syntheticExchange } from './synthetic-quic.ts'

const directory = mkdtempSync(join(tmpdir(), 'quicether-capture-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const hasTshark = spawnSync('tshark', ['--version']).status === 0
const skip = hasTshark ? false : 'tshark is not installed (Debian: apt-get install tshark)'

/** Fields of all packets that match, one row each. `-n`: no names are looked up. */
function tshark(path: string, filter: string, fields: readonly string[]): string[][] {
  const args = ['-n', '-r', path, '-Y', filter, '-T', 'fields', ...fields.flatMap((field) => ['-e', field])]
  const run = spawnSync('tshark', [...args, '-o', 'udp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'], {
    encoding: 'utf8',
  })
  assert.equal(run.status, 0, run.stderr)
  return run.stdout
    .split('\n')
    .filter((row) => row !== '')
    .map((row) => row.split('\t'))
}

const families = [
  ['IPv4', '127.0.0.1', '127.0.0.2'],
  ['IPv6', '::1', '2001:db8::2'],
] as const

for (const [family, localAddress, remoteAddress] of families) {
  test(`a captured exchange over ${family} opens decrypted in tshark, down to the HTTP/3 request`, {
    skip,
  }, async () => {
    const tuple = createTuple({
      localAddress,
      localPort: 40_000,
      remoteAddress,
      remotePort: 4433,
      interfaceIndex: 1,
      socket: 0,
    })
    const path = join(directory, `${family}.pcapng`)
    const writer = new PcapngWriter({ path, epochOffsetUs: Date.now() * 1000, interfaceName: () => 'lo' })
    const exchange = syntheticExchange({ path: '/text/hello', responseText: 'good day' })
    for (const [index, { direction, bytes }] of exchange.datagrams.entries()) {
      writer.datagram(direction, tuple, bytes, 0, bytes.length, 2, index * 1000)
      // As in a client: the secrets appear while the server's first flight, already captured, is handled.
      if (index === 1) for (const line of exchange.keylog) writer.keylogLine(line)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await writer.close()

    const ip = family === 'IPv4' ? 'ip' : 'ipv6'
    const rows = tshark(path, 'udp', [
      `${ip}.src`,
      `${ip}.dst`,
      'udp.srcport',
      'frame.interface_name',
      'udp.checksum.status',
    ])
    assert.equal(rows.length, 4)
    assert.deepEqual(rows[0], [localAddress, remoteAddress, '40000', 'lo', '1'])
    assert.deepEqual(rows[1], [remoteAddress, localAddress, '4433', 'lo', '1'])
    const ecn = family === 'IPv4' ? 'ip.dsfield.ecn == 2' : 'ipv6.tclass.ecn == 2'
    assert.equal(tshark(path, ecn, ['frame.number']).length, 4)
    assert.deepEqual(
      tshark(path, 'tls.handshake.type == 8', ['frame.number']),
      [['2']],
      'the server flight is decrypted',
    )
    const [request] = tshark(path, 'http3.frame_type == 1 && frame.number == 3', ['quic.stream_data'])
    assert.ok(Buffer.from(request?.[0] ?? '', 'hex').includes('/text/hello'))
    assert.deepEqual(tshark(path, 'http3.frame_type == 0', ['frame.number']), [['4']])
    assert.equal(tshark(path, '_ws.malformed || quic.decryption_failed', ['frame.number']).length, 0)
  })
}

const H3_DATA = 0
const H3_HEADERS = 1

test('a real run, captured by both sides, opens decrypted in tshark from the first packet on', { skip }, async () => {
  const files = { server: join(directory, 'server.pcapng'), client: join(directory, 'client.pcapng') }
  const qlogDirectory = join(directory, 'qlog')
  const keylogFile = join(directory, 'keys.log')
  const answers = await realRun(files, qlogDirectory, keylogFile)
  assert.deepEqual(answers, ['answer to /text/0', 'answer to /text/1', 'answer to /text/2'])

  for (const [side, path] of Object.entries(files)) {
    const frames = tshark(path, 'http3.frame_type', ['http3.frame_type']).flat().join(',').split(',').map(Number)
    assert.ok(frames.filter((type) => type === H3_HEADERS).length >= 6, `${side}: requests and responses are decrypted`)
    assert.ok(frames.filter((type) => type === H3_DATA).length >= 3, `${side}: bodies are decrypted`)
    assert.ok(
      tshark(path, 'tls.handshake.type == 8', ['frame.number']).length > 0,
      `${side}: the server flight is decrypted`,
    )
    assert.deepEqual(tshark(path, 'quic.decryption_failed', ['frame.number']), [], `${side}: every packet is decrypted`)
    assert.deepEqual(tshark(path, '_ws.malformed', ['frame.number']), [], `${side}: nothing is malformed`)
    assert.deepEqual(tshark(path, 'udp.checksum.status == 0', ['frame.number']), [], `${side}: checksums are right`)
    assert.equal(statSync(path).mode & 0o777, 0o600, `${side}: a file with secrets is private`)
  }
  checkKeylog(keylogFile)
  checkQlog(qlogDirectory)
})

/** Three requests on one connection; returns the response bodies. */
async function realRun(
  files: { readonly server: string; readonly client: string },
  qlogDirectory: string,
  keylogFile: string,
): Promise<string[]> {
  const made = generateCertificate({ names: ['localhost'] })
  const certificate = { pem: made.certificatePem, label: 'cert.pem' }
  const identity = { certificate, privateKey: { pem: made.privateKeyPem, label: 'key.pem' } }
  const atServer = openDiagnostics({ captureFile: files.server, qlogDirectory, keylogFile })
  const atClient = openDiagnostics({ captureFile: files.client, qlogDirectory })
  const listener = await listen(
    { addresses: ['127.0.0.1'], port: 0, identities: [identity], alpn: ['h3'], ...atServer },
    (connection) =>
      void serveHttp3(connection, (request, response) =>
        response.send(200, [['content-type', 'text/plain']], Buffer.from(`answer to ${request.path ?? ''}`)),
      ),
  )
  try {
    const { port } = listener
    const connection = await connect({
      host: '127.0.0.1',
      port,
      serverName: 'localhost',
      alpn: ['h3'],
      ca: [certificate],
      ...atClient,
    })
    const client = new Http3Client(connection)
    const answers: string[] = []
    for (let index = 0; index < 3; index++) {
      const response = await client.request({ method: 'GET', authority: 'localhost', path: `/text/${index}` })
      answers.push(await response.body.text())
    }
    await client.close()
    return answers
  } finally {
    await listener.close()
    await Promise.all([atClient.close(), atServer.close()])
  }
}

function checkKeylog(path: string): void {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n')
  for (const label of [
    'CLIENT_HANDSHAKE_TRAFFIC_SECRET',
    'SERVER_HANDSHAKE_TRAFFIC_SECRET',
    'CLIENT_TRAFFIC_SECRET_0',
    'SERVER_TRAFFIC_SECRET_0',
  ]) {
    assert.ok(
      lines.some((line) => line.startsWith(`${label} `)),
      `the key log has ${label}`,
    )
  }
}

/** Both sides' logs tell of the same connection, from start to end, with the frames of each packet. */
function checkQlog(path: string): void {
  const names = readdirSync(path).sort()
  assert.equal(names.length, 2)
  assert.match(names.join(' '), /^([0-9a-f]+)_client\.sqlog \1_server\.sqlog$/)
  for (const name of names) {
    const texts = readFileSync(join(path, name), 'utf8').split('\u001e').slice(1)
    const records = texts
      .slice(1)
      .map((text) => JSON.parse(text) as { name: string; data: { frames?: { frame_type: string }[] } })
    const kinds = new Set(records.map((record) => record.name))
    for (const kind of [
      'connection_started',
      'parameters_set',
      'packet_sent',
      'packet_received',
      'recovery_metrics_updated',
      'connection_closed',
    ]) {
      assert.ok(kinds.has(`quic:${kind}`), `${name} has ${kind}; it has ${[...kinds].join(', ')}`)
    }
    const frames = new Set(records.flatMap((record) => record.data.frames ?? []).map((frame) => frame.frame_type))
    for (const type of ['crypto', 'ack', 'stream', 'handshake_done'])
      assert.ok(frames.has(type), `${name} shows ${type} frames`)
    assert.equal(frames.has('unknown'), false)
  }
}
