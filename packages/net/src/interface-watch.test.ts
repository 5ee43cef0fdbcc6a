/** Addresses that come, go and change are reported once each; a system that does not answer changes nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type AddressChange,
  differences,
  InterfaceWatch,
  type LocalAddress,
  listLocalAddresses,
} from './interface-watch.ts'
import { ManualClock } from './testing/manual-clock.ts'

const on = (interfaceName: string, address: string): LocalAddress => ({ interfaceName, address, isInternal: false })
const wifi = on('wlan0', '192.0.2.1')
const wifi6 = on('wlan0', '2001:db8::1')
const lte = on('wwan0', '198.51.100.1')

function words(changes: readonly AddressChange[]): string[] {
  return changes.map((change) =>
    change.kind === 'changed'
      ? `changed ${change.from.address} ${change.to.address}`
      : `${change.kind} ${change.address.address}`,
  )
}

function watching(initial: readonly LocalAddress[]) {
  const clock = new ManualClock()
  const news: string[][] = []
  const state = { addresses: initial, isBroken: false }
  const watch = new InterfaceWatch({
    clock,
    onChange: (changes) => news.push(words(changes)),
    list: () => {
      if (state.isBroken) throw new Error('EMFILE')
      return state.addresses
    },
  })
  watch.start()
  return { clock, news, state, watch }
}

test('what is there at the start is known; what comes and goes later is reported at the next look', () => {
  const { clock, news, state, watch } = watching([wifi])
  clock.advance(2_000)
  assert.deepEqual(news, [])
  state.addresses = [wifi, lte, wifi6]
  clock.advance(499)
  assert.deepEqual(news, [])
  clock.advance(1)
  state.addresses = [lte]
  clock.advance(500)
  assert.deepEqual(news, [
    ['added 198.51.100.1', 'added 2001:db8::1'],
    ['removed 192.0.2.1', 'removed 2001:db8::1'],
  ])
  assert.deepEqual(watch.addresses, [lte])
})

test('a new lease is one change, and several addresses of a family are told one by one', () => {
  const other = on('wlan0', '192.0.2.9')
  assert.deepEqual(words(differences([wifi, lte], [other, lte])), ['changed 192.0.2.1 192.0.2.9'])
  const third = on('wlan0', '192.0.2.7')
  assert.deepEqual(words(differences([wifi, third], [third, other])), ['removed 192.0.2.1', 'added 192.0.2.9'])
  assert.deepEqual(words(differences([wifi, lte], [lte, wifi])), [])
})

test('a look on demand does not wait, and after the end nothing is looked at', () => {
  const { clock, news, state, watch } = watching([wifi])
  state.addresses = []
  watch.poll()
  assert.deepEqual(news, [['removed 192.0.2.1']])
  watch.stop()
  state.addresses = [lte]
  clock.advance(10_000)
  assert.equal(news.length, 1)
})

test('a system that cannot tell for a while loses nothing', () => {
  const { clock, news, state } = watching([wifi])
  state.isBroken = true
  clock.advance(5_000)
  state.isBroken = false
  state.addresses = [wifi, lte]
  clock.advance(500)
  assert.deepEqual(news, [['added 198.51.100.1']])
})

test('the addresses of this machine have the loopback among them', () => {
  const loopback = listLocalAddresses().find(({ address }) => address === '127.0.0.1')
  assert.equal(loopback?.isInternal, true)
})
