/** What is measured: cases, what each tells the client, and which figures come out. */

export type Unit = 'bit/s' | 's/Gbit' | 'per s' | 'us' | 'bytes' | 'ratio'

/** One figure of a case. `better` says which direction is the good one. */
export interface Metric {
  readonly name: string
  readonly unit: Unit
  readonly better: 'more' | 'less'
}

export interface Case {
  readonly name: string
  readonly group: Group
  readonly about: string
  /** How its figures are taken. */
  readonly kind: 'bulk' | 'count' | 'latency' | 'setup' | 'memory' | 'scale'
  /** Words for the client, without those of the run (`port`, `ca`, `seconds`, `warmup`). */
  readonly words: Readonly<Record<string, string | number>>
  readonly metrics: readonly Metric[]
  /** Only contenders that name it run it: limits of the machine and proxies have cases of their own. */
  readonly isNamed?: boolean
}

export const groups = [
  'bulk',
  'requests',
  'handshakes',
  'setup',
  'latency',
  'memory',
  'scale',
  'router',
  'limits',
] as const
export type Group = (typeof groups)[number]

const rate: Metric = { name: 'rate', unit: 'bit/s', better: 'more' }
const cpu: Metric = { name: 'cpu', unit: 's/Gbit', better: 'less' }
const perSecond: Metric = { name: 'rate', unit: 'per s', better: 'more' }
/** Of both sides together, for one request, handshake or message there and back. */
const cpuEach: Metric = { name: 'cpu', unit: 'us', better: 'less' }
const p50: Metric = { name: 'p50', unit: 'us', better: 'less' }
const p99: Metric = { name: 'p99', unit: 'us', better: 'less' }

function bulk(direction: 'down' | 'up', streams: number): Case {
  return {
    name: `${direction === 'down' ? 'download' : 'upload'}-${streams}`,
    group: 'bulk',
    about: `one connection, ${streams === 1 ? 'one stream' : `${streams} streams`} at once`,
    kind: 'bulk',
    words: { case: 'bulk', direction, streams },
    metrics: [rate, cpu],
  }
}

function handshakes(mode: 'full' | 'resumed' | 'early', about: string): Case {
  return {
    name: `handshakes-${mode}`,
    group: 'handshakes',
    about,
    kind: 'count',
    words: { case: 'handshakes', mode, concurrency: 4 },
    metrics: [perSecond, cpuEach],
  }
}

function setup(mode: 'full' | 'early', about: string): Case {
  return {
    name: `setup-${mode}`,
    group: 'setup',
    about,
    kind: 'setup',
    words: { case: 'handshakes', mode, concurrency: 1 },
    metrics: [
      { name: 'connected', unit: 'us', better: 'less' },
      { name: 'answered', unit: 'us', better: 'less' },
    ],
  }
}

function memory(name: string, about: string, what: 'idle' | 'streams', steps: string): Case {
  const metric: Metric = { name: 'each', unit: 'bytes', better: 'less' }
  return { name, group: 'memory', about, kind: 'memory', words: { case: what, steps }, metrics: [metric] }
}

function limit(name: string, about: string, kind: Case['kind'], metrics: readonly Metric[]): Case {
  return { name, group: 'limits', about, kind, words: { case: name }, metrics, isNamed: true }
}

function proxy(kind: 'requests' | 'download' | 'upload', concurrency: number, about: string): Case {
  const isBulk = kind !== 'requests'
  return {
    name: `router-${kind}`,
    group: 'router',
    about: `reverse proxy from HTTP/3 to HTTP/1.1, one connection of quic-go: ${about}`,
    kind: isBulk ? 'bulk' : 'count',
    words: { case: 'h3', kind, concurrency },
    metrics: isBulk ? [rate, cpu] : [perSecond, cpuEach],
    isNamed: true,
  }
}

export const cases: readonly Case[] = [
  bulk('down', 1),
  bulk('up', 1),
  bulk('down', 100),
  bulk('up', 100),
  {
    name: 'requests',
    group: 'requests',
    about: 'a new stream each, 100 bytes there and 100 back, 32 at once, one connection',
    kind: 'count',
    words: { case: 'requests', concurrency: 32 },
    metrics: [perSecond, cpuEach],
  },
  handshakes('full', 'connect, one byte answered, close; 4 at once, no session kept'),
  handshakes('resumed', 'the same with a session from before'),
  handshakes('early', 'the same with the request in the first flight (0-RTT)'),
  setup('full', 'one at a time: until connected, until one byte is answered'),
  setup('early', 'the same with 0-RTT: the request goes with the first flight'),
  {
    name: 'latency-idle',
    group: 'latency',
    about: '100 bytes there and back on an open stream, one after the other',
    kind: 'latency',
    words: { case: 'pingpong', load: 0 },
    metrics: [p50, p99, cpuEach],
  },
  {
    name: 'latency-load',
    group: 'latency',
    about: 'the same while the connection downloads as fast as it can',
    kind: 'latency',
    words: { case: 'pingpong', load: 1 },
    metrics: [p50, p99, cpuEach],
  },
  memory('memory-idle', 'server memory for one more idle connection, from 200 to 1,000', 'idle', '200,1000'),
  memory('memory-streams', 'server memory for one more open stream, from 200 to 5,000', 'streams', '200,5000'),
  {
    name: 'scale',
    group: 'scale',
    about: 'processor time of the server per request, 32 at once in turn over 10,000 connections, against 10',
    kind: 'scale',
    words: { case: 'scale', concurrency: 32, connections: '10,10000' },
    metrics: [{ name: 'cost', unit: 'ratio', better: 'less' }],
  },
  proxy('requests', 32, 'small requests, 32 at once; cpu is that of proxy and client'),
  proxy('download', 1, 'one download'),
  proxy('upload', 1, 'one upload'),
  limit('udp', 'UDP with GSO and GRO: no cryptography, no protocol', 'bulk', [rate, cpu]),
  limit('sealed', 'the same with AES-128-GCM and header protection (ring) and a copy on each side', 'bulk', [
    rate,
    cpu,
  ]),
  limit('aead', 'sealing alone, one core, no sockets', 'bulk', [rate]),
  limit('dgram', '100 bytes there and back over node:dgram', 'latency', [p50, p99, cpuEach]),
]
