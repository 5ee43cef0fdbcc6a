/** Our captures open in Wireshark's own dissector, decrypted, with nothing but the file. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createTuple } from '@quicether/transport'
import { PcapngWriter } from '../../packages/net/src/capture/index.ts'
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
