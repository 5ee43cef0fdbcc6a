/** Seeds and command lists that once found a fault of the engine: they run before any others. */
import type { ModelPlan } from './model-steps.ts'

/** A seed means what it meant as long as `drawModelPlan` stays as it is; the lists below mean it for ever. */
export const modelSeeds: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 1, found: 'connection IDs that link two addresses of a migrating client' },
  { seed: 6, found: 'addresses left behind are challenged with the connection ID in use' },
  { seed: 41, found: 'the same with several addresses left behind' },
  { seed: 62, found: 'a path that no authentic packet opened is shown' },
  { seed: 64, found: 'an abandoned path that migrates' },
  { seed: 104, found: 'an abandoned path that rebinds' },
  { seed: 162, found: 'a backup that took over kept the peer off a path which only the peer could mend' },
  { seed: 286, found: 'the same when the peer had heard of it before' },
  {
    seed: 167,
    found:
      'back at the last address that worked, with the connection ID of the one given up, though there was a fresh one',
  },
  { seed: 1_781, found: 'a silent path behind a late one without budget: the driver span' },
]

/** Cut down from failing seeds. */
export const modelRegressions: readonly { readonly found: string; readonly plan: ModelPlan }[] = [
  {
    found: 'a server answered a probing client at its new address with the connection ID it uses towards the old one',
    plan: {
      seed: 1,
      links: [
        { delayUs: 3028, rateBitsPerSecond: 3090906, nat: 'symmetric' },
        { delayUs: 30660, rateBitsPerSecond: 28224689, nat: 'full-cone' },
        { delayUs: 10214, rateBitsPerSecond: 43444985, nat: 'symmetric' },
      ],
      maxPaths: { client: 2, server: 3 },
      activeCidLimit: { client: 3, server: 3 },
      keyUpdatePackets: 100,
      steps: [{ op: 'migrate', link: 2, thenUs: 1000 }],
    },
  },
  {
    found: 'packets under way to an abandoned path, its NAT rebound, made the server move there and challenge it',
    plan: {
      seed: 18,
      links: [
        { delayUs: 21507, rateBitsPerSecond: 9876655, nat: 'symmetric' },
        { delayUs: 7640, rateBitsPerSecond: 9246856, nat: 'full-cone' },
        { delayUs: 20224, rateBitsPerSecond: 39116300, nat: 'symmetric' },
      ],
      maxPaths: { client: 2, server: 2 },
      activeCidLimit: { client: 3, server: 2 },
      keyUpdatePackets: 100,
      steps: [
        { op: 'open', link: 1, isBackup: true, thenUs: 61782 },
        { op: 'close', side: 'server', nth: 9, thenUs: 371 },
        { op: 'rebind', link: 0, address: 105, thenUs: 1000 },
      ],
    },
  },
  {
    found:
      'an address that an attacker on the path had put up was challenged with the connection ID of the place moved to next',
    plan: {
      seed: 24,
      links: [
        { delayUs: 3863, rateBitsPerSecond: 3559754, nat: 'symmetric' },
        { delayUs: 15481, rateBitsPerSecond: 7460147, nat: 'symmetric' },
        { delayUs: 8686, rateBitsPerSecond: 98616417, nat: undefined },
        { delayUs: 56006, rateBitsPerSecond: 8037619, nat: undefined },
      ],
      maxPaths: { client: 2, server: 3 },
      activeCidLimit: { client: 8, server: 3 },
      keyUpdatePackets: 100,
      steps: [
        { op: 'tamper', link: 0, way: 'up', count: 5, how: { kind: 'spoof', port: 1025 }, thenUs: 1000 },
        { op: 'transfer', upBytes: 2314, downBytes: 1264, key: 658649274, thenUs: 453 },
        { op: 'migrate', link: 2, thenUs: 389059 },
      ],
    },
  },
  {
    found: 'a datagram of nobody opened a path, which then was shown to the application',
    plan: {
      seed: 62,
      links: [
        { delayUs: 28538, rateBitsPerSecond: 13976077, nat: 'full-cone' },
        { delayUs: 29011, rateBitsPerSecond: 4012745, nat: undefined },
      ],
      maxPaths: { client: 4, server: 2 },
      activeCidLimit: { client: 8, server: 8 },
      keyUpdatePackets: 100,
      steps: [
        { op: 'open', link: 1, isBackup: false, thenUs: 667 },
        {
          op: 'tamper',
          link: 1,
          way: 'up',
          count: 11,
          how: { kind: 'corrupt', at: 0.2160644035320729, mask: 81 },
          thenUs: 1000,
        },
        { op: 'transfer', upBytes: 2765, downBytes: 13413, key: 573423158, thenUs: 374057 },
      ],
    },
  },
  {
    found: 'an address that a NAT had left was challenged with the connection ID of the place moved to next',
    plan: {
      seed: 140,
      links: [
        { delayUs: 31623, rateBitsPerSecond: 26328744, nat: 'full-cone' },
        { delayUs: 2731, rateBitsPerSecond: 15912351, nat: undefined },
        { delayUs: 4035, rateBitsPerSecond: 11076600, nat: 'full-cone' },
      ],
      maxPaths: { client: 4, server: 4 },
      activeCidLimit: { client: 2, server: 8 },
      keyUpdatePackets: 100,
      steps: [
        { op: 'transfer', upBytes: 21125, downBytes: 93338, key: 277388198, thenUs: 119043 },
        { op: 'rebind', link: 0, address: 108, thenUs: 48112 },
        { op: 'rebind', link: 0, address: 183, thenUs: 1000 },
        { op: 'migrate', link: 2, thenUs: 1000 },
      ],
    },
  },
  {
    found: 'a silent path behind a late one without budget: the driver span',
    plan: {
      seed: 1781,
      links: [
        { delayUs: 2720, rateBitsPerSecond: 58616909, nat: 'full-cone' },
        { delayUs: 1613, rateBitsPerSecond: 42096305, nat: 'full-cone' },
      ],
      maxPaths: { client: 4, server: 4 },
      activeCidLimit: { client: 3, server: 8 },
      keyUpdatePackets: 100,
      steps: [
        { op: 'starve', side: 'client', thenUs: 314 },
        { op: 'datagrams', side: 'server', count: 11, bytes: 560, thenUs: 44169 },
        { op: 'waver', side: 'server', nth: 2, times: 8, everyUs: 3255, thenUs: 217 },
        { op: 'transfer', upBytes: 109, downBytes: 6915, key: 627881497, thenUs: 183209 },
        { op: 'open', link: 0, isBackup: false, thenUs: 147643 },
        { op: 'open', link: 0, isBackup: false, thenUs: 256 },
        { op: 'open', link: 1, isBackup: false, thenUs: 27199 },
        { op: 'cut', link: 1, way: 'up', thenUs: 1000 },
        { op: 'transfer', upBytes: 526, downBytes: 71744, key: 209182489, thenUs: 275 },
        { op: 'update-keys', side: 'client', thenUs: 376727 },
        { op: 'tamper', link: 0, way: 'up', count: 9, how: { kind: 'drop' }, thenUs: 1000 },
        { op: 'transfer', upBytes: 136, downBytes: 21788, key: 780320781, thenUs: 1000 },
        { op: 'transfer', upBytes: 1838, downBytes: 331, key: 761148590, thenUs: 1000 },
        { op: 'rebind', link: 0, thenUs: 168587, address: undefined },
        { op: 'open', link: 0, isBackup: false, thenUs: 1000 },
        { op: 'transfer', upBytes: 5099, downBytes: 684, key: 934916839, thenUs: 1000 },
      ],
    },
  },
]
