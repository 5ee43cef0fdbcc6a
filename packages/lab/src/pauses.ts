/** Programs that have other things to do: their event loops stand still now and then (collector, other work, other processes). */
import type { Micros } from '@quicether/transport'
import type { World } from './world.ts'

export interface PauseOptions {
  /** Time from one pause to the next, drawn anew each time. */
  readonly everyUs: readonly [least: Micros, most: Micros]
  readonly lengthUs: readonly [least: Micros, most: Micros]
}

/** Something that can be too busy to look at its socket and its timers. */
export interface Pausable {
  beginBusy(): void
  endBusy(): void
}

/** Pauses drawn from the world's seed, until it ends. `name` tells the pauses of several programs apart. */
export function addPauses(world: World, name: string, program: Pausable, options: PauseOptions): void {
  const random = world.random.fork(`pauses of ${name}`)
  const { everyUs, lengthUs } = options
  const next = (): void =>
    world.after(random.between(...everyUs), () => {
      program.beginBusy()
      world.after(random.between(...lengthUs), () => {
        program.endBusy()
        next()
      })
    })
  next()
}
