/** Which address of a pool gets the next request. */
import type { ServiceConfig } from '../config/schema.ts'
import type { Target } from './target.ts'

export type BalancePolicy = ServiceConfig['balance']

/**
 * Picks among `usable`, which is not empty. `key` matters to `hash` only; `random` is a number in [0, 1) for the policies that
 * draw lots.
 */
export function pickTarget(
  policy: BalancePolicy,
  usable: readonly Target[],
  key: string,
  random: () => number,
): Target | undefined {
  switch (policy) {
    case 'round-robin':
      return roundRobin(usable)
    case 'least-connections':
      return leastConnections(usable)
    case 'hash':
      return byHash(usable, key)
    case 'random':
      return ofTwo(usable, random)
  }
}

/** Smooth weighted round-robin: each gains its weight, the richest is taken and pays for all. */
function roundRobin(usable: readonly Target[]): Target | undefined {
  let total = 0
  let best: Target | undefined
  for (const target of usable) {
    target.currentWeight += target.weight
    total += target.weight
    if (best === undefined || target.currentWeight > best.currentWeight) best = target
  }
  if (best !== undefined) best.currentWeight -= total
  return best
}

/** Fewest running requests for its weight; equals take turns. */
function leastConnections(usable: readonly Target[]): Target | undefined {
  let least = Number.POSITIVE_INFINITY
  for (const target of usable) least = Math.min(least, target.active / target.weight)
  return roundRobin(usable.filter((target) => target.active / target.weight === least))
}

/**
 * Weighted rendezvous hashing: every address draws a lot from the key, the highest wins. An address that leaves takes only its
 * own keys away, and they spread over all others.
 */
function byHash(usable: readonly Target[], key: string): Target | undefined {
  let best: Target | undefined
  let bestScore = Number.NEGATIVE_INFINITY
  for (const target of usable) {
    const lot = (hash32(`${target.url}\n${key}`) + 0.5) / 0x1_0000_0000
    const score = -target.weight / Math.log(lot)
    if (score > bestScore) [best, bestScore] = [target, score]
  }
  return best
}

/** The less busy of two drawn by weight. */
function ofTwo(usable: readonly Target[], random: () => number): Target | undefined {
  const one = draw(usable, random)
  const other = draw(usable, random)
  if (one === undefined || other === undefined) return one ?? other
  return other.active / other.weight < one.active / one.weight ? other : one
}

function draw(usable: readonly Target[], random: () => number): Target | undefined {
  let total = 0
  for (const target of usable) total += target.weight
  let at = random() * total
  for (const target of usable) {
    at -= target.weight
    if (at < 0) return target
  }
  return usable.at(-1)
}

/** FNV-1a over the characters, then mixed so that similar texts come to lie far apart. */
function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
