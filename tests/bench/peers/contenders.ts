/** The implementations that are measured side by side: where each comes from, how it is started, what it cannot do. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cache, installAioquic, installCaddy, installGo, installNpm, installPicoquic, installRust } from './install.ts'

const programs = fileURLToPath(new URL('programs/', import.meta.url))

export interface Contender {
  readonly name: string
  readonly about: string
  /** Cases or groups of cases it has no way to run, with the reason. */
  readonly lacks: Readonly<Record<string, string>>
  /** The cases it is there for, those no other runs; it then runs no others. */
  readonly only?: readonly string[]
  /** Makes it ready; returns its version. Throws what is missing and how to get it. */
  install(): Promise<string>
  /** Program and its first words; role and `name=value` words follow. */
  readonly command: readonly string[]
  /** Another program as the client. */
  readonly client?: readonly string[]
}

const node = [process.execPath, '--expose-gc', '--disable-warning=ExperimentalWarning']
const rust = join(cache, 'rust', 'release')
const quicgo = join(cache, 'bin', 'quicgo')
const proxied = ['router-requests', 'router-download', 'router-upload']

export const contenders: readonly Contender[] = [
  {
    name: 'quicether',
    about: 'this engine: @quicether/net, TypeScript over a Rust crate',
    lacks: {},
    install: async () => `Node ${process.version}`,
    command: [...node, join(programs, 'quicether.ts')],
  },
  {
    name: 'quinn',
    about: 'Rust, tokio, rustls with ring, GSO and GRO',
    lacks: {},
    install: () => installRust('quinn'),
    command: [join(rust, 'quinn-peer')],
  },
  {
    name: 'noq',
    about: "Rust, iroh's fork of quinn with several paths",
    lacks: {},
    install: () => installRust('noq'),
    command: [join(rust, 'noq-peer')],
  },
  {
    name: 'quic-go',
    about: 'Go, GSO',
    lacks: {},
    install: () => installGo(),
    command: [quicgo],
  },
  {
    name: 'picoquic',
    about: 'C, picotls with fusion (AES-NI, VAES), its own packet loop with GSO',
    lacks: {},
    install: () => installPicoquic(),
    command: [join(cache, 'picoquic', 'peer')],
  },
  {
    name: 'aioquic',
    about: 'Python',
    lacks: { scale: '10,000 connections take minutes of handshakes in Python' },
    install: () => installAioquic(),
    command: [join(cache, 'aioquic', 'bin', 'python'), join(programs, 'aioquic_peer.py')],
  },
  {
    name: 'iroh',
    about: '@number0/iroh: noq behind Node-API',
    lacks: {
      'handshakes-resumed': 'its JavaScript interface has no sessions',
      'handshakes-early': 'its JavaScript interface has no 0-RTT',
      'setup-early': 'its JavaScript interface has no 0-RTT',
      scale: 'every connection of a process needs an endpoint of its own',
      'memory-idle': 'connections of one endpoint to another are joined into one',
    },
    install: () => installNpm('iroh', '@number0/iroh', '1.1.0'),
    command: [...node, join(programs, 'iroh.ts'), join(cache, 'iroh')],
  },
  {
    name: 'matrixai',
    about: '@matrixai/quic: quiche behind Node-API, sockets of node:dgram',
    lacks: {
      'handshakes-resumed': 'its JavaScript interface has no sessions',
      'handshakes-early': 'its JavaScript interface has no 0-RTT',
      'setup-early': 'its JavaScript interface has no 0-RTT',
      scale: '10,000 connections take minutes of handshakes',
    },
    install: () => installNpm('matrixai', '@matrixai/quic', '2.0.9'),
    command: [...node, join(programs, 'matrixai.ts'), join(cache, 'matrixai')],
  },
  {
    name: 'quicether-router',
    about: 'quicether router before a Go service, loaded by quic-go',
    lacks: {},
    only: proxied,
    install: async () => `Node ${process.version}, client and service: Go, quic-go ${await installGo()}`,
    command: [...node, join(programs, 'proxy.ts'), 'quicether', quicgo],
    client: [quicgo],
  },
  {
    name: 'caddy',
    about: "Debian's Caddy as reverse proxy before the same service, under the same load",
    lacks: {},
    only: proxied,
    install: () => installCaddy(),
    command: [...node, join(programs, 'proxy.ts'), 'caddy', quicgo],
    client: [quicgo],
  },
  {
    name: 'limits',
    about: 'the machine itself: a Rust program without a protocol',
    lacks: {},
    only: ['udp', 'sealed', 'aead'],
    install: () => installRust('quinn-udp'),
    command: [join(rust, 'limits')],
  },
  {
    name: 'node:dgram',
    about: 'datagrams of Node.js without a protocol',
    lacks: {},
    only: ['dgram'],
    install: async () => `Node ${process.version}`,
    command: [...node, join(programs, 'dgram.ts')],
  },
]
