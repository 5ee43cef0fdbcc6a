/** The mapping of local ends to addresses of the server, interface names, and the flags of the 2017 fork. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PathView } from '@quicether/transport'
import { createProgram } from '../program.ts'
import { pathTable, progressLines, trouble } from '../terminal/path-view.ts'
import { translateForkFlags } from './fork-flags.ts'
import { findInterfaces } from './interfaces.ts'
import { type PlanOptions, planPaths } from './path-plan.ts'

const machine = [
  { name: 'lo', addresses: ['127.0.0.1', '::1'] },
  { name: 'wlan0', addresses: ['192.0.2.5', '2001:db8::5'] },
  { name: 'wlan1', addresses: ['198.51.100.5'] },
  { name: 'wl', addresses: ['203.0.113.5'] },
  { name: 'down0', addresses: [] },
]
const base: PlanOptions = { addresses: ['192.0.2.1'], port: 4433, interfaces: [], localAddresses: [], further: [] }

function ends(options: Partial<PlanOptions>): readonly string[] {
  return planPaths({ ...base, ...options }).map(
    ({ localAddress = '*', interfaceName = '*', remoteAddress, remotePort }) =>
      `${interfaceName}/${localAddress} ${remoteAddress}:${remotePort}`,
  )
}

test('interface 0 talks to the address of the URL, interface n + 1 to the n-th further address', () => {
  const interfaces = findInterfaces(['wlan0', 'wlan1', 'lo'], machine)
  assert.deepEqual(ends({ interfaces, further: ['198.51.100.1:6000', '127.0.0.2'] }), [
    'wlan0/192.0.2.5 192.0.2.1:4433',
    'wlan1/198.51.100.5 198.51.100.1:6000',
    '*/127.0.0.1 127.0.0.2:4433',
  ])
})

test('any mesh of addresses of the server and interfaces can be written down, a name as often as it is needed', () => {
  const interfaces = findInterfaces(['wlan0', 'wlan1', 'wlan0', 'wlan1'], machine)
  assert.deepEqual(ends({ interfaces, further: ['192.0.2.1', '192.0.2.2', '192.0.2.2'] }), [
    'wlan0/192.0.2.5 192.0.2.1:4433',
    'wlan1/198.51.100.5 192.0.2.1:4433',
    'wlan0/192.0.2.5 192.0.2.2:4433',
    'wlan1/198.51.100.5 192.0.2.2:4433',
  ])
})

test('what goes to an address of this machine is not bound to an interface, through which it never leaves', () => {
  const interfaces = findInterfaces(['wlan0', 'wlan1'], machine)
  assert.deepEqual(ends({ interfaces, own: ['192.0.2.1'], further: ['192.0.2.9'] }), [
    '*/192.0.2.5 192.0.2.1:4433',
    'wlan1/198.51.100.5 192.0.2.9:4433',
  ])
})

test('fake multipath uses the one interface, or whatever the kernel chooses, for two paths', () => {
  const interfaces = findInterfaces(['wlan1'], machine)
  assert.deepEqual(ends({ interfaces, isFake: true }), [
    'wlan1/198.51.100.5 192.0.2.1:4433',
    'wlan1/198.51.100.5 192.0.2.1:4433',
  ])
  assert.deepEqual(ends({ isFake: true, further: ['192.0.2.2'] }), ['*/* 192.0.2.1:4433', '*/* 192.0.2.2:4433'])
})

test('without further addresses all talk to the address of the URL, and more paths than ends take them in turn', () => {
  const localAddresses = ['127.0.0.1', '127.0.0.2']
  assert.deepEqual(ends({ localAddresses, paths: 3 }), [
    '*/127.0.0.1 192.0.2.1:4433',
    '*/127.0.0.2 192.0.2.1:4433',
    '*/127.0.0.1 192.0.2.1:4433',
  ])
})

test('without local ends the kernel chooses them, one path for each address of the server', () => {
  assert.deepEqual(ends({}), ['*/* 192.0.2.1:4433'])
  assert.deepEqual(ends({ further: ['[2001:db8::7]:1', '2001:db8::8'] }), [
    '*/* 192.0.2.1:4433',
    '*/* 2001:db8::7:1',
    '*/* 2001:db8::8:4433',
  ])
})

test('of a name with several addresses each end takes one of its own IP version', () => {
  const addresses = ['2001:db8::1', '192.0.2.1']
  const interfaces = findInterfaces(['wlan0', 'wlan1'], machine)
  assert.deepEqual(ends({ addresses, interfaces }), [
    'wlan0/2001:db8::5 2001:db8::1:4433',
    'wlan1/198.51.100.5 192.0.2.1:4433',
  ])
})

for (const [what, options, pattern] of [
  ['both kinds of local ends', { interfaces: machine.slice(0, 1), localAddresses: ['::1'] }, /Give one of them/u],
  ['a local address that is none', { localAddresses: ['eth0'] }, /"eth0" is not an IP address/u],
  ['a port beyond all ports', { further: ['192.0.2.2:70000'] }, /"192\.0\.2\.2:70000" is not an address/u],
  [
    'too few further addresses',
    { localAddresses: ['10.0.0.1', '10.0.0.2', '10.0.0.3'], further: ['10.0.0.4'] },
    /2, or none/u,
  ],
  ['two ends and a fake one', { localAddresses: ['10.0.0.1', '10.0.0.2'], isFake: true }, /--fake-multipath/u],
  ['more ends than paths', { further: ['10.0.0.4'], paths: 1 }, /1 paths cannot use 2 ends/u],
] as const) {
  test(`${what}: refused with the remedy`, () => assert.throws(() => ends(options), pattern))
}

test('the beginning of a name finds all interfaces that have it; a whole name finds its own only', () => {
  const names = (...wanted: string[]) => findInterfaces(wanted, machine).map(({ name }) => name)
  assert.deepEqual(names('wla'), ['wlan0', 'wlan1'])
  assert.deepEqual(names('wl'), ['wl'])
  assert.deepEqual(names('wlan1', 'wlan'), ['wlan1', 'wlan0'])
  assert.deepEqual(names('wlan1', 'wla', 'wlan1', 'wla'), ['wlan1', 'wlan0', 'wlan1', 'wlan0'])
  assert.throws(() => names('eth'), /begins with "eth".*lo, wlan0/u)
  assert.throws(() => names('down'), /down0 has no usable address/u)
  const withBare = [...machine, { name: 'wlan9', addresses: [] }]
  assert.deepEqual(
    findInterfaces(['wla'], withBare).map(({ name }) => name),
    ['wlan0', 'wlan1'],
  )
})

test('flags of the 2017 fork are understood where they were known, in both spellings', () => {
  const translated = (line: string) => translateForkFlags(line.split(' ')).join(' ')
  assert.equal(
    translated('get -n=c1,c2 -mip B:1 -c=32 -d 50 -fmp -o x URL'),
    'get --interfaces c1,c2 --mip B:1 --initial-window 32 --delay 50 --fake-multipath -o x URL',
  )
  assert.equal(
    translated('serve -www . -port=1 -sc rr -ssc=prio -tcp=true -v=false -certpath x -f=64'),
    'serve --www . --port 1 --scheduler rr --stream-scheduler prio --tcp --certpath x --flow-window 64',
  )
  assert.equal(translated('client -n 3'), 'client -n 3')
  assert.equal(translated('get -- -v'), 'get -- -v')
  assert.throws(() => translated('serve -tcp=maybe'), /"maybe" is neither true nor false \(-tcp=maybe\)/u)
})

test('the examples of the fork mean what its manual says', () => {
  const parsed = (line: string) => {
    let flags: Record<string, unknown> = {}
    const program = createProgram()
    for (const command of program.commands)
      command.action((...args: unknown[]) => {
        flags = args.find((arg) => typeof arg === 'object' && !Array.isArray(arg)) as Record<string, unknown>
      })
    program.parse([...translateForkFlags(line.split(' '))], { from: 'user' })
    return flags
  }
  assert.deepEqual(parsed('serve -n=enxa0cec818056b,wlp -www=.')['interfaces'], ['enxa0cec818056b', 'wlp'])
  const simple = 'get -n=enxa0cec818056b,wlp2s0 -mip=192.168.34.32:6000 https://127.0.0.1:6121/index.html'
  const host = [
    { name: 'lo', addresses: ['127.0.0.1'] },
    { name: 'enxa0cec818056b', addresses: ['10.1.0.2'] },
    { name: 'wlp2s0', addresses: ['10.2.0.2'] },
    { name: 'wlan1', addresses: ['192.168.0.7'] },
    { name: 'ethernet1', addresses: ['192.168.0.135'] },
  ]
  const planned = (line: string) => {
    const { interfaces, mip } = parsed(line) as { readonly interfaces: string[]; readonly mip: string[] }
    return ends({ addresses: ['127.0.0.1'], port: 6121, interfaces: findInterfaces(interfaces, host), further: mip })
  }
  assert.deepEqual(planned(simple), ['*/10.1.0.2 127.0.0.1:6121', 'wlp2s0/10.2.0.2 192.168.34.32:6000'])
  const mesh = 'get -n=lo,wlan1,ethernet1 -mip=192.168.0.135:6121,192.168.0.135:6121 https://127.0.0.1:6121/index.html'
  assert.deepEqual(planned(mesh), [
    '*/127.0.0.1 127.0.0.1:6121',
    'wlan1/192.168.0.7 192.168.0.135:6121',
    'ethernet1/192.168.0.135 192.168.0.135:6121',
  ])
})

test('bars and table show the share, the facts and the state of each path', () => {
  const view: PathView = {
    id: 0,
    localAddress: '127.0.0.1',
    localPort: 1,
    remoteAddress: '127.0.0.9',
    remotePort: 4433,
    isValidated: true,
    smoothedRttUs: 12_500,
    rttMinUs: 0,
    rttLatestUs: 0,
    rttVarUs: 0,
    windowBytes: 0,
    inFlightBytes: 0,
    ptoCount: 0,
    mtuBytes: 1200,
    packetsSent: 5,
    packetsReceived: 7,
    bytesSent: 1,
    bytesReceived: 3_000_000,
    packetsLost: 2,
    packetsMissing: 1,
    state: 'active',
    isBackup: false,
    ecn: 'capable',
    congestion: 'cubic',
  }
  const failed: PathView = { ...view, id: 2, bytesReceived: 0, state: 'abandoned' }
  const paths = [view, { ...view, id: 1, bytesReceived: 1_000_000, isBackup: true }, failed]
  const lines = progressLines(paths, new Map([[0, 1_000_000]]), { receivedBytes: 2, expectedBytes: 8 })
  assert.match(
    lines[0] ?? '',
    /path 0 {2}active +█{12}░{4} {2}3\.00 MB {2}8\.0 Mbit\/s {2}RTT 12\.5 ms {2}missing 1 \(13 %\) {2}127\.0\.0\.1 → 127\.0\.0\.9/u,
  )
  assert.match(lines[1] ?? '', /path 1 {2}backup +█{4}░{12} /u)
  assert.match(lines[2] ?? '', /all +█{4}░{12} {2}25 % {2}2 B of 8 B/u)
  assert.equal(lines[3], undefined)
  const monitor = { degradedMs: 3_400, nextTryMs: () => 3_100 }
  assert.match(
    progressLines(paths, new Map(), { receivedBytes: 2, expectedBytes: 8 }, trouble(monitor))[3] ?? '',
    /^no path works for 3 s; trying again in 4 s\. The download goes on when one does\.$/u,
  )
  assert.equal(trouble({ degradedMs: undefined, nextTryMs: () => 1 }), undefined)
  assert.match(
    pathTable(paths, 1000),
    /0 +127\.0\.0\.1 +127\.0\.0\.9:4433 +3\.00 MB +75 % +24\.0 Mbit\/s +12\.5 ms +5\/7 +2 +1 \(13 %\) +active/u,
  )
})
