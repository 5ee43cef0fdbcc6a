/** NewReno against RFC 9002 §7. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { conformance, Sender } from './conformance.ts'
import { createNewReno } from './new-reno.ts'

const MTU = 1_200

conformance('NewReno', createNewReno, 0.5)

// spec: RFC 9002 §7.3.3
test('NewReno: congestion avoidance adds one datagram per window acknowledged', () => {
  const sender = new Sender(createNewReno(MTU))
  for (let i = 0; i < 4; i += 1) sender.round()
  sender.lose(0, sender.nowUs)
  for (let i = 0; i < 10; i += 1) {
    sender.nowUs += 1
    const before = sender.controller.windowBytes
    sender.round(Infinity, 1_000)
    const grown = sender.controller.windowBytes - before
    assert.ok(grown <= MTU && grown >= MTU * 0.97, `grew by ${grown}`)
  }
})

test('NewReno: a loss found spurious changes nothing, RFC 9002 knows no undo', () => {
  const sender = new Sender(createNewReno(MTU))
  sender.round()
  sender.fill()
  sender.nowUs += 1
  sender.lose(1, sender.nowUs - 1)
  const window = sender.controller.windowBytes
  sender.controller.onSpuriousLoss?.(MTU, sender.nowUs - 1, sender.nowUs)
  assert.equal(sender.controller.windowBytes, window)
})
