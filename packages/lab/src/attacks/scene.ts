/** The usual cast of an attack: a victim that serves downloads, an honest client beside it, and means to measure. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Connection } from '@quicether/transport'
import { Arena, Downloader, Node, type NodeOptions, Responder, Sniffer, takeOver, VICTIM } from './arena.ts'
import type { RawPeer } from './raw-peer.ts'

export const HONEST = '10.0.0.2:5000'
export const ATTACKER = '10.6.6.6:6666'
export const MIB = 1_048_576

export interface Scene {
  readonly arena: Arena
  readonly victim: Node
  readonly responder: Responder
  readonly honest: Downloader
  readonly sniffer: Sniffer
}

/** A victim and an honest client that has connected and downloaded something already. */
export function createScene(options: Partial<NodeOptions> = {}): Scene {
  const arena = new Arena()
  const sniffer = new Sniffer(arena)
  const victim = new Node(arena, VICTIM, { seed: 1, isServer: true, ...options })
  const responder = new Responder(victim)
  const honest = new Downloader(new Node(arena, HONEST, { seed: 2, config: { keepAliveUs: 5_000_000 } }))
  const scene = { arena, victim, responder, honest, sniffer }
  honest.download(100_000)
  arena.until(() => honest.finished === 1, 10_000_000, 'first download of the honest client')
  return scene
}

/** An attacker with an established connection, and the victim's side of it. */
export function attack(scene: Scene, address: string = ATTACKER): { peer: RawPeer; connection: Connection } {
  const before = new Set(scene.victim.connections)
  const { peer } = takeOver(scene.arena, scene.sniffer, address, { seed: 666 })
  const connection = [...scene.victim.connections].find((candidate) => !before.has(candidate))
  if (connection === undefined) throw new Error('the victim has no connection with the attacker')
  return { peer, connection }
}

/** The honest client downloads again; throws when that takes over `withinUs` of virtual time. */
export function assertHonestWorks(scene: Scene, withinUs: number = 5_000_000): void {
  const finished = scene.honest.finished
  scene.honest.download(300_000)
  scene.arena.until(
    () => scene.honest.finished > finished,
    withinUs,
    `download of the honest client during the attack (${scene.honest.closed ?? 'still open'})`,
  )
}

/** Calls `action` `times` times, `perMs` per millisecond of virtual time. */
export function flood(scene: Scene, times: number, perMs: number, action: (index: number) => void): void {
  for (let i = 0; i < times; i++) {
    action(i)
    if ((i + 1) % perMs === 0) scene.arena.run(1_000)
  }
  scene.arena.run(100_000)
}

/** Bytes alive on the heap and in array buffers after a full collection. */
export function liveBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
