/** Probes, timers and acknowledgments when the network is silent, seen on the wire. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Level } from '../ports/crypto.ts'
import { transfer } from '../testing/index.ts'
import { type Sent, watched } from '../testing/watched.ts'

const isEliciting = ({ frames }: Sent): boolean => frames.some((name) => name !== 'ack' && name !== 'connection_close')

// spec: RFC 9002 §6.2#1, §6.2.1#5, §6.2.4#1, §6.2.4#2, §7#2, §7.5#1, §7.5#2
test('a sender that hears nothing stays in its window, then probes ever more rarely, and takes nothing for lost', () => {
  const { pair, sent } = watched()
  pair.handshake()
  pair.advance(500_000)
  const { recovery } = pair.connection.path
  const windowBytes = recovery.congestion.windowBytes
  pair.filter = () => false
  const from = sent.length
  transfer(pair, 'client', 500_000)
  pair.advance(100)
  const lost = pair.connection.stats().packetsLost
  let inFlightBytes = recovery.inFlightBytes
  assert.ok(inFlightBytes <= windowBytes, `${inFlightBytes} bytes in a window of ${windowBytes}`)
  const times: number[] = []
  const startUs = pair.nowUs
  while (pair.nowUs - startUs < 8_000_000) {
    const before = sent.length
    const ptos = recovery.ptoCount
    pair.step()
    const fresh = sent.slice(before).filter(({ role }) => role === 'client')
    if (fresh.length === 0) continue
    if (recovery.ptoCount === ptos) assert.ok(recovery.inFlightBytes <= windowBytes, 'only probes leave a full window')
    else {
      times.push(pair.nowUs)
      assert.ok(fresh.every(isEliciting), 'probes elicit an answer')
      assert.ok(recovery.inFlightBytes > inFlightBytes, 'probes count as in flight')
    }
    inFlightBytes = recovery.inFlightBytes
  }
  assert.ok(sent.length > from)
  assert.ok(inFlightBytes > windowBytes, 'probes leave although the window is full')
  assert.ok(times.length >= 4, `${times.length} probe timeouts`)
  const gaps = times.slice(1).map((at, index) => at - (times[index] as number))
  for (let i = 1; i < gaps.length; i++)
    assert.ok((gaps[i] as number) >= 1.9 * (gaps[i - 1] as number), `gaps ${gaps.join(', ')}`)
  assert.equal(pair.connection.stats().packetsLost, lost)
})

// spec: RFC 9002 §6.2.2.1#2, §6.2.2.1#3, RFC 9000 §8.1#4
test('a client with nothing to say still probes while the server may be out of credit', () => {
  const { pair, sent } = watched({ tlsServer: { certificateBytes: 20_000 } })
  let fromServer = 0
  // The first datagram brings ServerHello and Handshake keys; the rest of what three times 1200 bytes allow is lost.
  pair.filter = ({ from }) => from === 'client' || ++fromServer === 1 || fromServer > 3
  pair.connect()
  pair.run(() => pair.connection.core.hasHandshakeKeys)
  const before = sent.length
  pair.run(() => sent.slice(before).some((packet) => packet.role === 'client' && isEliciting(packet)))
  const probe = sent.slice(before).find((packet) => packet.role === 'client' && isEliciting(packet))
  assert.equal(probe?.level, Level.Handshake)
  pair.run(() => pair.connection.core.handshakeConfirmed)
})

// spec: RFC 9000 §13.2.1#4, §13.2.1#5
test('two endpoints that have nothing to say fall silent instead of acknowledging acknowledgments', () => {
  const { pair, sent } = watched()
  pair.handshake()
  const up = transfer(pair, 'client', 200_000)
  const down = transfer(pair, 'server', 200_000)
  pair.run(() => up.isDone() && down.isDone())
  pair.advance(5_000_000)
  const before = sent.length
  pair.advance(15_000_000)
  assert.equal(sent.length, before)
})

// spec: RFC 9000 §13.2.1#2, §13.2.1#3, §13.2.3#3
test('every packet that elicits an acknowledgment is acknowledged within the delay announced', () => {
  const { pair, sent } = watched()
  pair.handshake()
  pair.advance(500_000)
  for (let i = 0; i < 20; i++) {
    const before = sent.length
    pair.connection.sendDatagram(new Uint8Array(10))
    const sentAtUs = pair.nowUs
    pair.run(() => sent.slice(before).some(({ role, frames }) => role === 'server' && frames.includes('ack')))
    assert.ok(pair.nowUs - sentAtUs <= 10_000 + 25_000 + 1_000, `${pair.nowUs - sentAtUs} us`)
    pair.advance(200_000)
  }
})
