import assert from 'node:assert/strict'
import { test } from 'node:test'
import { milliseconds, seconds, world } from './index.ts'

const MEGABYTE = 1_000_000

test('a download uses what the link gives', () => {
  const lab = world({ seed: 1, links: { fibre: { rateBitsPerSecond: 50e6, delayUs: milliseconds(10) } } })
  const download = lab.client.download(10 * MEGABYTE)
  lab.until(download.finished, { withinUs: seconds(20), what: 'the download' })
  const share = download.goodputBitsPerSecond / 50e6
  assert.ok(share > 0.85 && share < 1, `${share} of the link`)
})

test('uploads, downloads and both at once end exactly', () => {
  const lab = world({
    seed: 2,
    links: { dsl: { rateBitsPerSecond: 20e6, delayUs: milliseconds(15), lossRatio: 0.01 } },
  })
  const transfers = [lab.client.upload(300_000), lab.client.download(300_000), lab.client.exchange(200_000)]
  lab.until(() => transfers.every((each) => each.finished()), { withinUs: seconds(20) })
  assert.deepEqual(
    transfers.map((each) => each.receivedBytes),
    [0, 300_000, 200_000],
  )
})

test('a download survives a NAT that forgets, and the timeline tells it', () => {
  const lab = world({
    seed: 3,
    links: { wifi: { rateBitsPerSecond: 20e6, delayUs: milliseconds(8), nat: 'restricted' } },
  })
  const download = lab.client.download(4 * MEGABYTE)
  lab.at(seconds(1)).rebind('wifi')
  lab.until(download.finished, { withinUs: seconds(20), what: 'the download' })
  assert.equal(lab.timeline('link'), '1s wifi rebound')
  const changes = lab
    .timeline('path')
    .split('\n')
    .map((line) => line.replace(/^\S+ /, ''))
  assert.deepEqual(changes, ['server#0 path 0 rebound', 'server#0 path 0 validated'])
  assert.equal(lab.accepted[0]?.connection.stats().rebindings, 1)
})

test('a client moves a download to another link when told to, and back', () => {
  const lab = world({
    seed: 4,
    links: {
      wifi: { rateBitsPerSecond: 30e6, delayUs: milliseconds(5) },
      lte: { rateBitsPerSecond: 30e6, delayUs: milliseconds(30) },
    },
  })
  const download = lab.client.download(8 * MEGABYTE)
  lab.at(seconds(0.5)).migrate('lte')
  lab.at(seconds(1)).cut('wifi')
  lab.at(seconds(1.6)).mend('wifi').migrate('wifi')
  lab.until(download.finished, { withinUs: seconds(30), what: 'the download' })
  assert.equal(lab.client.stats.migrations, 2)
  assert.ok(lab.link('lte').down.stats.deliveredBytes > MEGABYTE, 'lte carried its part')
})

test('an outage shorter than the idle timeout costs time and nothing else', () => {
  const lab = world({ seed: 5, links: { wifi: { rateBitsPerSecond: 20e6, delayUs: milliseconds(20) } } })
  const download = lab.client.download(3 * MEGABYTE)
  lab.at(milliseconds(400)).cut('wifi')
  lab.at(seconds(3.4)).mend('wifi')
  lab.until(download.finished, { withinUs: seconds(15), what: 'the download' })
  assert.equal(download.receivedBytes, 3 * MEGABYTE)
})

test('a second connection resumes and its request travels in the first flight', () => {
  const lab = world({ seed: 6, links: { wifi: { delayUs: milliseconds(50) } } })
  const first = lab.client.download(1_000)
  lab.until(first.finished, { withinUs: seconds(5) })
  lab.run(seconds(1))
  const again = lab.reconnect({ earlyData: true })
  const second = again.download(1_000)
  lab.until(second.finished, { withinUs: seconds(5) })
  assert.ok(first.durationUs >= milliseconds(200), `${first.durationUs}`)
  // One round trip for request and reply; what remains is the acknowledgment of the end.
  assert.ok(second.durationUs <= milliseconds(130), `${second.durationUs}`)
  assert.match(lab.timeline('connection'), /client#1 connected \(resumed, 0-RTT accepted\)/)
})

test('IPv6 and Retry work as well', () => {
  const lab = world({
    seed: 7,
    links: { wifi: { delayUs: milliseconds(10), isIpv6: true } },
    accept: { retry: 'always' },
  })
  const download = lab.client.download(50_000)
  lab.until(download.finished, { withinUs: seconds(5) })
  assert.equal(lab.server.endpoint.stats.retries, 1)
})

test('mistakes in a scenario are named', () => {
  const lab = world({ seed: 8, links: { wifi: {} } })
  assert.throws(() => lab.link('lte'), /no link lte; there are server, wifi/)
  assert.throws(() => lab.nat('wifi'), /link wifi has no NAT/)
  assert.throws(() => world({ seed: 1, links: {} }), /at least one link/)
  assert.throws(() => world({ seed: 1, links: { x: { nat: 'symmetric', isIpv6: true } } }), /IPv4 only/)
})

test('a thousand NAT rebindings and moves between links leak nothing, and the connection goes on', () => {
  const lab = world({
    seed: 9,
    links: {
      wifi: { rateBitsPerSecond: 50e6, delayUs: milliseconds(5), nat: 'restricted' },
      lte: { rateBitsPerSecond: 50e6, delayUs: milliseconds(20), nat: 'symmetric' },
    },
  })
  lab.until(() => lab.client.app.isConfirmed, { withinUs: seconds(5) })
  let routesMax = 0
  for (let i = 0; i < 1_000; i++) {
    if (i % 2 === 0) lab.nat(i % 4 === 0 ? 'wifi' : 'lte').rebind()
    else lab.migrate(i % 4 === 1 ? 'lte' : 'wifi')
    const exchange = lab.client.exchange(2_000)
    lab.until(exchange.finished, { withinUs: seconds(30), what: `exchange ${i}` })
    lab.run(milliseconds(200))
    routesMax = Math.max(routesMax, lab.server.endpoint.routeCount, lab.client.party.endpoint.routeCount)
  }
  assert.ok(lab.client.stats.migrations >= 490, `${lab.client.stats.migrations} migrations`)
  assert.ok((lab.accepted[0]?.connection.stats().rebindings ?? 0) >= 900)
  assert.ok(routesMax <= 40, `${routesMax} routes`)
  lab.client.app.connection.close(0, '')
  lab.run(seconds(5))
  assert.deepEqual([lab.server.endpoint.routeCount, lab.client.party.endpoint.routeCount], [0, 0])
})

// spec: RFC 9000 §13.4.1#1
test('ECN marks replace losses: the link stays busy, nothing is dropped, and each queue costs one reduction', () => {
  const lab = world({
    seed: 10,
    links: { fibre: { rateBitsPerSecond: 50e6, delayUs: milliseconds(15), ecnThresholdBytes: 60_000 } },
  })
  const download = lab.client.download(40 * MEGABYTE)
  lab.until(download.finished, { withinUs: seconds(30), what: 'the download' })
  const { stats } = lab.link('fibre').down
  assert.ok(stats.marked > 0, `${stats.marked} marks`)
  assert.equal(stats.tailDropped, 0)
  const share = download.goodputBitsPerSecond / 50e6
  assert.ok(share > 0.85, `${share} of the link`)
})
