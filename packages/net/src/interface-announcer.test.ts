/** A server's announcements follow its interfaces. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { QuicError } from '@quicether/transport'
import { InterfaceAnnouncer } from './interface-announcer.ts'
import type { LocalAddress } from './interface-watch.ts'
import { ManualClock } from './testing/manual-clock.ts'

const on = (interfaceName: string, address: string, isInternal = false): LocalAddress => ({
  interfaceName,
  address,
  isInternal,
})

function announcing(initial: readonly LocalAddress[], families = { hasIpv4: true, hasIpv6: true }, max = 16) {
  const clock = new ManualClock()
  const net = { addresses: initial }
  const announced: string[] = []
  const host = {
    announceAddress: (address: string): boolean => {
      if (announced.length >= max) throw new QuicError('ERR_ADDRESS_LIMIT', 'full')
      announced.push(address)
      return true
    },
    withdrawAddress: (address: string): boolean => announced.splice(announced.indexOf(address), 1).length > 0,
  }
  const announcer = new InterfaceAnnouncer(host, { ...families, clock, list: () => net.addresses })
  return { clock, net, announced, announcer }
}

const lo = on('lo', '127.0.0.1', true)
const eth = on('eth0', '192.0.2.1')
const eth6 = on('eth0', '2001:db8::1')
const link = on('eth0', 'fe80::1')

test('addresses that clients elsewhere can reach are announced, and withdrawn when they go', () => {
  const { clock, net, announced } = announcing([lo, eth, link])
  assert.deepEqual(announced, ['192.0.2.1'])
  net.addresses = [lo, eth, eth6]
  clock.advance(500)
  assert.deepEqual(announced, ['192.0.2.1', '2001:db8::1'])
  net.addresses = [lo, eth6]
  clock.advance(500)
  assert.deepEqual(announced, ['2001:db8::1'])
})

test('families that are not received are not announced', () => {
  assert.deepEqual(announcing([eth, eth6], { hasIpv4: false, hasIpv6: true }).announced, ['2001:db8::1'])
})

test('what does not fit waits for room, and nothing happens after the end', () => {
  const { clock, net, announced, announcer } = announcing([eth, eth6], undefined, 1)
  assert.deepEqual(announced, ['192.0.2.1'])
  net.addresses = [eth6]
  clock.advance(500)
  assert.deepEqual(announced, ['2001:db8::1'])
  announcer.stop()
  net.addresses = []
  clock.advance(5_000)
  assert.deepEqual(announced, ['2001:db8::1'])
})
