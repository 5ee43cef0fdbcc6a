/** The MTU search on links of every size, and black holes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NEVER } from '../ports/datagrams.ts'
import { BASE_MTU_BYTES, MtuProber } from './mtu-prober.ts'

/** Answers probes as a link of `linkBytes` would until the search rests; returns probes sent. */
function search(prober: MtuProber, linkBytes: number, nowUs: number): number {
  let probes = 0
  for (;;) {
    const size = prober.nextProbe(nowUs)
    if (size === 0) return probes
    assert.ok(size > prober.mtuBytes, `a probe of ${size} bytes cannot teach anything at ${prober.mtuBytes}`)
    assert.equal(prober.nextProbe(nowUs), size)
    prober.onProbeSent(size)
    assert.equal(prober.nextProbe(nowUs), 0, 'one probe at a time')
    probes += 1
    assert.ok(probes < 200, 'the search ends')
    if (size <= linkBytes) prober.onProbeAcked(size, nowUs)
    else prober.onProbeLost(size)
  }
}

test('nothing is probed before the handshake is complete', () => {
  const prober = new MtuProber(1_472)
  assert.equal(prober.mtuBytes, 1_200)
  assert.equal(prober.nextProbe(0), 0)
  assert.equal(prober.pollTimeout(), NEVER)
})

for (const maximum of [1_452, 1_472, 8_972, 65_507])
  test(`a link that carries the ceiling of ${maximum} is found with one probe`, () => {
    const prober = new MtuProber(maximum)
    prober.start()
    assert.equal(search(prober, maximum, 0), 1)
    assert.equal(prober.mtuBytes, maximum)
    assert.equal(prober.state, 'complete')
    assert.equal(prober.pollTimeout(), NEVER)
  })

// spec: RFC 8899 §3#1
test('whatever a link carries, the search comes within 16 bytes of it and never above', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1_200, max: 65_507 }),
      fc.integer({ min: 1_200, max: 65_507 }),
      (linkBytes, maximum) => {
        const prober = new MtuProber(maximum)
        prober.start()
        const probes = search(prober, linkBytes, 0)
        const best = Math.min(linkBytes, maximum)
        assert.ok(prober.mtuBytes <= best && prober.mtuBytes >= best - 16, `${prober.mtuBytes} of ${best}`)
        assert.ok(probes <= 60, `${probes} probes`)
      },
    ),
  )
})

test('a tunnel of 1420 bytes behind an Ethernet ceiling costs few probes', () => {
  const prober = new MtuProber(1_472)
  prober.start()
  const probes = search(prober, 1_420, 0)
  assert.ok(prober.mtuBytes >= 1_404 && prober.mtuBytes <= 1_420)
  assert.ok(probes <= 14, `${probes} probes`)
})

test('a size is given up only after three lost probes', () => {
  const prober = new MtuProber(1_472)
  prober.start()
  for (let i = 0; i < 2; i += 1) {
    assert.equal(prober.nextProbe(0), 1_472)
    prober.onProbeSent(1_472)
    prober.onProbeLost(1_472)
  }
  assert.equal(prober.nextProbe(0), 1_472)
  prober.onProbeSent(1_472)
  assert.equal(prober.onProbeAcked(1_472, 0), true)
  assert.equal(prober.mtuBytes, 1_472)
})

test('ten minutes later a link that has grown is found', () => {
  const prober = new MtuProber(1_472)
  prober.start()
  search(prober, 1_300, 1_000)
  const small = prober.mtuBytes
  assert.ok(small <= 1_300)
  const resumeUs = prober.pollTimeout()
  assert.equal(resumeUs, 1_000 + 600_000_000)
  assert.equal(prober.nextProbe(resumeUs - 1), 0)
  prober.onTimeout(resumeUs - 1)
  assert.equal(prober.pollTimeout(), resumeUs)
  prober.onTimeout(resumeUs)
  assert.equal(prober.pollTimeout(), NEVER, 'a timer that has fired does not fire again')
  search(prober, 1_472, resumeUs)
  assert.equal(prober.mtuBytes, 1_472)
})

function grown(): MtuProber {
  const prober = new MtuProber(1_472)
  prober.start()
  search(prober, 1_472, 0)
  return prober
}

// spec: RFC 8899 §3#19
test('large packets that vanish while small ones pass bring the base size back', () => {
  const prober = grown()
  assert.equal(prober.onPacketLost(1_472, 1_000), false)
  prober.onPacketAcked(60)
  assert.equal(prober.onPacketLost(1_472, 2_000), false)
  assert.equal(prober.onPacketLost(1_472, 3_000), true)
  assert.equal(prober.mtuBytes, BASE_MTU_BYTES)
  const resumeUs = prober.pollTimeout()
  assert.equal(resumeUs, 3_000 + 60_000_000)
  search(prober, 1_400, resumeUs)
  assert.ok(prober.mtuBytes <= 1_400 && prober.mtuBytes >= 1_384)
})

// spec: RFC 8899 §3#23
test('a burst lost at one moment is congestion, not a black hole', () => {
  const prober = grown()
  prober.onPacketAcked(60)
  for (let i = 0; i < 100; i += 1) assert.equal(prober.onPacketLost(1_472, 1_000), false)
  prober.onPacketAcked(60)
  assert.equal(prober.mtuBytes, 1_472)
})

// spec: RFC 8899 §3#7
test('losses between large packets that arrive are congestion, however many', () => {
  const prober = grown()
  for (let i = 0; i < 100; i += 1) {
    assert.equal(prober.onPacketLost(1_472, i * 1_000), false)
    prober.onPacketAcked(60)
    prober.onPacketAcked(1_472)
  }
  assert.equal(prober.mtuBytes, 1_472)
})

test('lost packets of the base size or less say nothing', () => {
  const prober = grown()
  prober.onPacketAcked(60)
  for (let i = 0; i < 100; i += 1) {
    assert.equal(prober.onPacketLost(1_200, i * 1_000), false)
    prober.onPacketAcked(60)
  }
  assert.equal(prober.mtuBytes, 1_472)
})

test('when nothing at all comes back, three probe timeouts bring the base size and a pause of five seconds', () => {
  const prober = grown()
  assert.equal(prober.onPtoExpired(1, 0), false)
  assert.equal(prober.onPtoExpired(2, 0), false)
  assert.equal(prober.onPtoExpired(3, 1_000), true)
  assert.equal(prober.mtuBytes, BASE_MTU_BYTES)
  assert.equal(prober.onPtoExpired(4, 2_000), false)
  assert.equal(prober.nextProbe(5_000_999), 0)
  assert.equal(prober.nextProbe(5_001_000), 1_472)
})

test('a smaller limit of the peer lowers the MTU at once', () => {
  const prober = grown()
  prober.setMaximum(1_300, 5)
  assert.equal(prober.mtuBytes, 1_300)
  assert.equal(prober.nextProbe(5), 0)
  prober.setMaximum(800, 6)
  assert.equal(prober.mtuBytes, 1_200)
})

test('a larger limit is searched for at once', () => {
  const prober = grown()
  prober.setMaximum(9_000, 5)
  search(prober, 8_000, 5)
  assert.ok(prober.mtuBytes >= 7_984 && prober.mtuBytes <= 8_000)
})

test('a new path begins at the base and waits for validation', () => {
  const prober = grown()
  prober.reset()
  assert.equal(prober.mtuBytes, 1_200)
  assert.equal(prober.nextProbe(0), 0)
  prober.start()
  assert.equal(search(prober, 1_472, 0), 1)
})

// spec: RFC 8899 §3#24
test('a late answer to a size already given up reopens what lies above it', () => {
  const prober = new MtuProber(9_000)
  prober.start()
  for (const _ of [0, 1]) {
    const size = prober.nextProbe(0)
    for (let i = 0; i < 3; i += 1) {
      assert.equal(prober.nextProbe(0), size)
      prober.onProbeSent(size)
      prober.onProbeLost(size)
    }
  }
  assert.equal(prober.onProbeAcked(8_952, 0), true)
  search(prober, 8_990, 0)
  assert.ok(prober.mtuBytes > 8_952 && prober.mtuBytes <= 8_990, `${prober.mtuBytes}`)
})

test('a probe in flight when the limit changed does not count against the new sizes', () => {
  const prober = new MtuProber(1_472)
  prober.start()
  prober.onProbeSent(prober.nextProbe(0))
  prober.setMaximum(1_400, 0)
  prober.onProbeLost(1_472)
  for (let i = 0; i < 3; i += 1) {
    assert.equal(prober.nextProbe(0), 1_400)
    prober.onProbeSent(1_400)
    prober.onProbeLost(1_400)
  }
  assert.ok(prober.nextProbe(0) < 1_400)
})

test('a new path still respects what the peer takes', () => {
  const prober = grown()
  prober.setMaximum(1_300, 5)
  prober.reset()
  prober.start()
  assert.equal(prober.nextProbe(10), 1_300)
})

test('a probe that arrives after it was given up still counts', () => {
  const prober = new MtuProber(1_472)
  prober.start()
  for (let i = 0; i < 3; i += 1) {
    prober.nextProbe(0)
    prober.onProbeSent(1_472)
    prober.onProbeLost(1_472)
  }
  assert.equal(prober.onProbeAcked(1_472, 0), true)
  assert.equal(prober.mtuBytes, 1_472)
  assert.equal(prober.nextProbe(0), 0)
})
