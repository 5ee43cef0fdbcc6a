/** ECN validation: the checks of RFC 9000 §13.4.2.1 and the states of §A.4. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Ecn } from '../ports/datagrams.ts'
import { EcnValidator } from './ecn-validator.ts'

const APP = 2

function sent(packets: number, space: number = APP): EcnValidator {
  const ecn = new EcnValidator(true)
  for (let i = 0; i < packets; i += 1) ecn.onSent(space, ecn.codepointToSend())
  return ecn
}

test('the first ten packets are marked, then none until the peer has confirmed', () => {
  const ecn = new EcnValidator(true)
  const marks: number[] = []
  for (let i = 0; i < 15; i += 1) {
    assert.equal(ecn.packetsBeforeChange(), i < 10 ? 10 - i : Infinity)
    marks.push(ecn.codepointToSend())
    ecn.onSent(APP, ecn.codepointToSend())
  }
  assert.deepEqual(marks, [...Array(10).fill(Ecn.Ect0), ...Array(5).fill(Ecn.NotEct)])
  assert.equal(ecn.state, 'unknown')
  assert.equal(ecn.onAckEcn(APP, 10, 0, 10, 0, 0), 0)
  assert.equal(ecn.state, 'capable')
  assert.equal(ecn.codepointToSend(), Ecn.Ect0)
})

test('a confirmation during the test makes the path capable at once', () => {
  const ecn = sent(2)
  ecn.onAckEcn(APP, 2, 0, 2, 0, 0)
  assert.equal(ecn.state, 'capable')
})

test('CE marks are returned as their increase', () => {
  const ecn = sent(10)
  assert.equal(ecn.onAckEcn(APP, 5, 0, 4, 0, 1), 1)
  assert.equal(ecn.onAckEcn(APP, 5, 0, 6, 0, 4), 3)
  assert.equal(ecn.onAckEcn(APP, 0, 0, 6, 0, 4), 0)
})

// spec: RFC 9000 §13.4.2.2#1
for (const [what, newly0, newly1, ect0, ect1, ce, reason] of [
  ['markings erased on the way', 5, 0, 4, 0, 0, /lost on the way/],
  ['more ECT(0) than sent', 5, 0, 11, 0, 0, /more ECT\(0\)/],
  ['ECT(1), which was never sent', 5, 0, 5, 1, 0, /more ECT\(1\)/],
  ['more CE than packets sent', 5, 0, 5, 0, 6, /more ECN-CE/],
] as const)
  test(`validation fails for ${what}`, () => {
    const ecn = sent(10)
    assert.equal(ecn.onAckEcn(APP, newly0, newly1, ect0, ect1, ce), 0)
    assert.equal(ecn.state, 'failed')
    assert.match(ecn.failure, reason)
    assert.equal(ecn.codepointToSend(), Ecn.NotEct)
  })

// spec: RFC 9000 §13.4.2.2#1
test('counts that go down fail', () => {
  const ecn = sent(10)
  ecn.onAckEcn(APP, 5, 0, 5, 0, 0)
  ecn.onAckEcn(APP, 0, 0, 4, 0, 0)
  assert.equal(ecn.state, 'failed')
})

test('one CE mark cannot stand for an ECT(0) and an ECT(1) packet', () => {
  const ecn = new EcnValidator(true)
  ecn.onSent(APP, Ecn.Ect0)
  ecn.onSent(APP, Ecn.Ect1)
  ecn.onAckEcn(APP, 1, 1, 0, 0, 1)
  assert.equal(ecn.state, 'failed')
})

// spec: RFC 9000 §13.4.2.2#1
test('an ACK without counts fails if it acknowledges marked packets, else not', () => {
  const ecn = sent(10)
  ecn.onAckWithoutEcn(0)
  assert.equal(ecn.state, 'unknown')
  ecn.onAckWithoutEcn(1)
  assert.equal(ecn.state, 'failed')
})

test('ACKs lost on the way may make counts grow by more than is newly acknowledged', () => {
  const ecn = sent(10)
  assert.equal(ecn.onAckEcn(APP, 2, 0, 9, 0, 1), 1)
  assert.equal(ecn.state, 'capable')
})

test('an acknowledgment of unmarked packets confirms nothing', () => {
  const ecn = sent(10)
  ecn.onAckEcn(APP, 0, 0, 0, 0, 0)
  assert.equal(ecn.state, 'unknown')
})

test('marking stops when all ten marked packets are lost', () => {
  const ecn = sent(10)
  for (let i = 0; i < 10; i += 1) {
    assert.equal(ecn.state, 'unknown')
    ecn.onLost(Ecn.Ect0)
  }
  assert.equal(ecn.state, 'failed')
})

test('marking continues when one of them arrived', () => {
  const ecn = sent(10)
  for (let i = 0; i < 9; i += 1) ecn.onLost(Ecn.Ect0)
  ecn.onAckEcn(APP, 1, 0, 1, 0, 0)
  assert.equal(ecn.state, 'capable')
})

// spec: RFC 9000 §13.4.2.1
test('a reordered ACK is no reason to fail and still counts as arrival', () => {
  const ecn = sent(10)
  ecn.onReorderedAck(1)
  for (let i = 0; i < 9; i += 1) ecn.onLost(Ecn.Ect0)
  assert.equal(ecn.state, 'unknown')
})

test('two probe timeouts in a row end the test, so that a path that eats marks still connects', () => {
  const ecn = sent(1)
  ecn.onPtoExpired(1)
  assert.equal(ecn.codepointToSend(), Ecn.Ect0)
  ecn.onPtoExpired(2)
  assert.equal(ecn.codepointToSend(), Ecn.NotEct)
  ecn.onLost(Ecn.Ect0)
  assert.equal(ecn.state, 'failed')
})

test('probe timeouts before anything was sent on the path do not end the test', () => {
  const ecn = new EcnValidator(true)
  ecn.onPtoExpired(2)
  assert.equal(ecn.codepointToSend(), Ecn.Ect0)
})

test('a network that marks everything CE is not believed', () => {
  const ecn = sent(10)
  assert.equal(ecn.onAckEcn(APP, 9, 0, 0, 0, 9), 9)
  assert.equal(ecn.state, 'unknown')
  assert.equal(ecn.onAckEcn(APP, 1, 0, 0, 0, 10), 0)
  assert.equal(ecn.state, 'failed')
})

test('each packet number space has its own counts', () => {
  const ecn = new EcnValidator(true)
  ecn.onSent(0, Ecn.Ect0)
  ecn.onSent(1, Ecn.Ect0)
  ecn.onSent(APP, Ecn.Ect0)
  ecn.onAckEcn(0, 1, 0, 1, 0, 0)
  ecn.onAckEcn(1, 1, 0, 1, 0, 0)
  ecn.onAckEcn(APP, 1, 0, 1, 0, 0)
  assert.equal(ecn.state, 'capable')
  ecn.onAckEcn(1, 0, 0, 2, 0, 0)
  assert.equal(ecn.state, 'failed')
})

test('discarded keys are no loss', () => {
  const ecn = sent(10)
  for (let i = 0; i < 10; i += 1) ecn.onDiscarded(Ecn.Ect0)
  assert.equal(ecn.state, 'unknown')
})

test('a driver without ECN never marks', () => {
  const ecn = new EcnValidator(false)
  assert.equal(ecn.codepointToSend(), Ecn.NotEct)
  ecn.reset()
  assert.equal(ecn.codepointToSend(), Ecn.NotEct)
})

test('a new path is tested anew with the counts going on', () => {
  const ecn = sent(10)
  ecn.onAckWithoutEcn(1)
  ecn.reset()
  assert.equal(ecn.codepointToSend(), Ecn.Ect0)
  ecn.onSent(APP, Ecn.Ect0)
  ecn.onAckEcn(APP, 1, 0, 11, 0, 0)
  assert.equal(ecn.state, 'capable')
})

test('any honest network keeps the path capable, whatever it marks, loses or acknowledges late', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('pass', 'ce', 'lose'), { minLength: 40, maxLength: 200 }),
      fc.integer({ min: 1, max: 10 }),
      (fates, packetsPerAck) => {
        const ecn = new EcnValidator(true)
        let [ect0, ce, newly, ceSeen] = [0, 0, 0, 0]
        fates.forEach((fate, i) => {
          const codepoint = ecn.codepointToSend()
          ecn.onSent(APP, codepoint)
          if (codepoint !== Ecn.Ect0) return
          if (fate === 'lose') ecn.onLost(codepoint)
          else {
            newly += 1
            if (fate === 'ce' && i > 0) ce += 1
            else ect0 += 1
          }
          if (i % packetsPerAck !== 0) return
          ceSeen += ecn.onAckEcn(APP, newly, 0, ect0, 0, ce)
          newly = 0
        })
        if (ecn.state === 'capable') assert.ok(ceSeen <= ce)
        if (ecn.state === 'failed') assert.match(ecn.failure, /every marked packet/)
      },
    ),
  )
})
