/** Ends that cannot make a path are named before anything is opened. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LocalAddress } from './interface-watch.ts'
import { pathEnds } from './path-ends.ts'

const on = (interfaceName: string, address: string): LocalAddress => ({ interfaceName, address, isInternal: false })
const locals = [on('eth0', '192.0.2.1'), on('wlan0', 'fe80::2'), on('wlan0', '2001:db8::2'), on('wlan0', '192.0.2.2')]
const server = { address: '203.0.113.1', remotePort: 443 }
const first = { address: '0.0.0.0', port: 0 }
const ends = (options: Parameters<typeof pathEnds>[0]): ReturnType<typeof pathEnds> =>
  pathEnds(options, server, first, locals)

test('an interface stands for its address of the family and scope that the server has', () => {
  assert.equal(ends({ interfaceName: 'eth0' }).local.address, '192.0.2.1')
  assert.equal(ends({ interfaceName: 'wlan0', remoteAddress: '2001:db8::1' }).local.address, '2001:db8::2')
  assert.equal(ends({ interfaceName: 'wlan0', remoteAddress: 'fe80::1' }).local.address, 'fe80::2%wlan0')
  assert.deepEqual(ends({}), { local: { address: '0.0.0.0', port: 0 }, remoteAddress: '203.0.113.1', remotePort: 443 })
})

test('an interface that does not exist, or has no address of the family, is named with what to do', () => {
  assert.throws(() => ends({ interfaceName: 'usb0' }), {
    code: 'ERR_INTERFACE',
    message: /no network interface called 'usb0' has an address; see `ip address`/,
  })
  assert.throws(() => ends({ interfaceName: 'eth0', remoteAddress: '2001:db8::1' }), {
    code: 'ERR_INTERFACE',
    message: /to 2001:db8::1: interface 'eth0' has no IPv6 address; choose another one/,
  })
})

test('IPv4 on one end and IPv6 on the other are refused, both ways round', () => {
  for (const [localAddress, remoteAddress] of [
    ['2001:db8::2', '203.0.113.1'],
    ['192.0.2.1', '2001:db8::1'],
  ] as const) {
    assert.throws(() => ends({ localAddress, remoteAddress }), {
      code: 'ERR_FAMILY',
      message: new RegExp(`from ${localAddress} to ${remoteAddress}: one is IPv4 and the other IPv6`),
    })
  }
})

test('what is no address and no port is shown as it was given', () => {
  assert.throws(() => ends({ localAddress: 'here' }), { code: 'ERR_ADDRESS', message: /localAddress 'here'/ })
  assert.throws(() => ends({ remoteAddress: '1.2.3' }), { code: 'ERR_ADDRESS', message: /remoteAddress '1\.2\.3'/ })
  assert.throws(() => ends({ remotePort: 0 }), { code: 'ERR_PORT', message: /port 0/ })
})
