/** The commands of the path model: drawn from a seed as plain data, so that a list can be printed, cut down and replayed. */
import { createSeededRandom, type SeededRandom } from '@quicether/transport/testing'
import type { NatKind } from './nat.ts'

export type Side = 'client' | 'server'
/** `up` leaves the client. */
export type Way = 'up' | 'down'
/** What happens to the next `count` datagrams of a link in one direction. */
export type Tampering =
  | { readonly kind: 'drop' }
  /** Held back for so long: later ones overtake it. */
  | { readonly kind: 'hold'; readonly forUs: number }
  | { readonly kind: 'duplicate'; readonly afterUs: number }
  | { readonly kind: 'corrupt'; readonly at: number; readonly mask: number }
  /** Arrives with a source that is not its own (RFC 9000 §9.3.2, an attacker on the path). */
  | { readonly kind: 'spoof'; readonly port: number }
  /** A copy with another source comes first, the genuine one later (RFC 9000 §9.3.3, an attacker off the path). */
  | { readonly kind: 'race'; readonly port: number; readonly byUs: number }
  /** A copy with another source comes later. */
  | { readonly kind: 'replay'; readonly port: number; readonly afterUs: number }

/** One command. `link` counts interfaces of the client; `nth` picks among the path IDs known so far, modulo their number. */
export type ModelCommand =
  | { readonly op: 'drive' }
  | { readonly op: 'tamper'; readonly link: number; readonly way: Way; readonly count: number; readonly how: Tampering }
  | { readonly op: 'loss'; readonly link: number; readonly ratio: number }
  | { readonly op: 'delay'; readonly link: number; readonly delayUs: number }
  | { readonly op: 'cut'; readonly link: number; readonly way: Way | 'both' }
  | { readonly op: 'mend'; readonly link: number }
  /** `error`: every send fails as with ENETUNREACH. */
  | { readonly op: 'down'; readonly link: number; readonly mode: 'error' | 'silent' }
  | { readonly op: 'up'; readonly link: number }
  | { readonly op: 'rebind'; readonly link: number; readonly address: number | undefined }
  | { readonly op: 'migrate'; readonly link: number }
  | { readonly op: 'open'; readonly link: number; readonly isBackup: boolean }
  | { readonly op: 'close'; readonly side: Side; readonly nth: number }
  | { readonly op: 'status'; readonly side: Side; readonly nth: number; readonly isBackup: boolean }
  /** Changes its mind again and again, a few milliseconds apart: what was said first may come last. */
  | {
      readonly op: 'waver'
      readonly side: Side
      readonly nth: number
      readonly times: number
      readonly everyUs: number
    }
  | { readonly op: 'update-keys'; readonly side: Side }
  /** Uses up the spare connection IDs of the first path. */
  | { readonly op: 'starve'; readonly side: Side }
  | { readonly op: 'transfer'; readonly upBytes: number; readonly downBytes: number; readonly key: number }
  | { readonly op: 'datagrams'; readonly side: Side; readonly count: number; readonly bytes: number }

export type ModelStep = ModelCommand & {
  /** Virtual time that passes afterwards. */
  readonly thenUs: number
}

export interface ModelLink {
  readonly delayUs: number
  readonly rateBitsPerSecond: number
  readonly nat: NatKind | undefined
}

/** A whole run: the world, the settings of both sides, and the commands. */
export interface ModelPlan {
  readonly seed: number
  readonly links: readonly ModelLink[]
  readonly maxPaths: Readonly<Record<Side, number>>
  readonly activeCidLimit: Readonly<Record<Side, number>>
  readonly keyUpdatePackets: number
  readonly steps: readonly ModelStep[]
}

/** Draws a plan. The same seed gives the same plan as long as this function stays as it is. */
export function drawModelPlan(seed: number): ModelPlan {
  const random = createSeededRandom(seed).fork('model plan')
  const links = Array.from({ length: random.between(2, 4) }, () => ({
    delayUs: logarithmic(random, 1_000, 60_000),
    rateBitsPerSecond: logarithmic(random, 2e6, 100e6),
    nat: random.pick([undefined, 'full-cone', 'restricted', 'symmetric'] as const),
  }))
  return {
    seed,
    links,
    maxPaths: { client: random.pick([2, 3, 4, 4]), server: random.pick([2, 3, 4, 4]) },
    activeCidLimit: { client: random.pick([2, 3, 8]), server: random.pick([2, 3, 8]) },
    keyUpdatePackets: random.pick([100, 2 ** 23]),
    // Most runs begin with traffic and a second path, so that what follows meets them.
    steps: [
      ...(random.chance(0.7) ? [drawAs(random, 'transfer', links.length), drawAs(random, 'open', links.length)] : []),
      ...Array.from({ length: random.between(10, 60) }, () => drawStep(random, links.length)),
    ],
  }
}

/** Uniform in the exponent. */
function logarithmic(random: SeededRandom, low: number, high: number): number {
  return Math.round(low * (high / low) ** random.fraction())
}

/** How often each command comes, in shares. */
const shares: readonly (readonly [ModelCommand['op'], number])[] = [
  ['drive', 4],
  ['tamper', 12],
  ['loss', 2],
  ['delay', 1],
  ['cut', 3],
  ['mend', 3],
  ['down', 2],
  ['up', 3],
  ['rebind', 3],
  ['migrate', 3],
  ['open', 10],
  ['close', 5],
  ['status', 5],
  ['waver', 2],
  ['update-keys', 3],
  ['starve', 1],
  ['transfer', 14],
  ['datagrams', 2],
]
const shareSum = shares.reduce((sum, [, share]) => sum + share, 0)

function drawStep(random: SeededRandom, links: number): ModelStep {
  let at = random.between(0, shareSum - 1)
  const found = shares.find(([, share]) => (at -= share) < 0) as (typeof shares)[number]
  return drawAs(random, found[0], links)
}

function drawAs(random: SeededRandom, op: ModelCommand['op'], links: number): ModelStep {
  const thenUs = logarithmic(random, 200, 400_000)
  return { ...drawCommand(random, op, random.between(0, links - 1)), thenUs }
}

const sides: readonly Side[] = ['client', 'server']

function drawCommand(random: SeededRandom, op: ModelCommand['op'], link: number): ModelCommand {
  const side = random.pick(sides)
  switch (op) {
    case 'tamper':
      return {
        op,
        link,
        way: random.pick(['up', 'up', 'down']),
        count: random.between(1, 12),
        how: drawTampering(random),
      }
    case 'loss':
      return { op, link, ratio: random.pick([0, 0.02, 0.1, 0.4]) }
    case 'delay':
      return { op, link, delayUs: logarithmic(random, 1_000, 120_000) }
    case 'cut':
      return { op, link, way: random.pick(['both', 'up', 'down']) }
    case 'down':
      return { op, link, mode: random.pick(['error', 'silent']) }
    case 'rebind':
      return { op, link, address: random.chance(0.4) ? random.between(100, 250) : undefined }
    case 'open':
      return { op, link, isBackup: random.chance(0.2) }
    case 'close':
      return { op, side, nth: random.between(0, 9) }
    case 'status':
      return { op, side, nth: random.between(0, 9), isBackup: random.chance(0.5) }
    case 'waver':
      return { op, side, nth: random.between(0, 9), times: random.between(2, 9), everyUs: random.between(500, 5_000) }
    case 'update-keys':
    case 'starve':
      return { op, side }
    case 'transfer': {
      const [upBytes, downBytes] = [logarithmic(random, 100, 150_000), logarithmic(random, 100, 150_000)]
      return { op, upBytes, downBytes, key: random.between(1, 1e9) }
    }
    case 'datagrams':
      return { op, side, count: random.between(1, 20), bytes: random.between(0, 1_000) }
    case 'drive':
      return { op }
    case 'migrate':
    case 'mend':
    case 'up':
      return { op, link }
  }
}

function drawTampering(random: SeededRandom): Tampering {
  const port = random.between(1_024, 1_030)
  const soonUs = logarithmic(random, 100, 100_000)
  switch (random.between(0, 8)) {
    case 0:
    case 1:
      return { kind: 'drop' }
    case 2:
    case 3:
      return { kind: 'hold', forUs: soonUs }
    case 4:
      return { kind: 'duplicate', afterUs: soonUs }
    case 5:
      return { kind: 'corrupt', at: random.fraction(), mask: random.between(1, 255) }
    case 6:
      return { kind: 'spoof', port }
    case 7:
      return { kind: 'race', port, byUs: soonUs }
    default:
      return { kind: 'replay', port, afterUs: logarithmic(random, 1_000, 2_000_000) }
  }
}

/** One step as a line, e.g. `open link 1 (backup), then 12.3 ms`. */
export function describeStep(step: ModelStep): string {
  const { op, thenUs, ...rest } = step
  const words = Object.entries(rest).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${word(value)}`]))
  return `${[op, ...words].join(' ')}, then ${(thenUs / 1_000).toFixed(1)} ms`
}

function word(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.values(value).join(' ')
}
