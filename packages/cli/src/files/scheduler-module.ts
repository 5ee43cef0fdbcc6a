/** Packet schedulers of the user, loaded from a module by its path: every mistake in it is named with the file. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { codeOf, messageOf, UserError } from '@quicether/router'
import type { Lane, PacketScheduler, PacketSchedulerFactory, Schedule } from '@quicether/transport'

/** Name of what a module must export: a function that makes one scheduler per connection. */
const EXPORT = 'scheduler'

/** Whether a value of `--scheduler` is a path rather than a name. */
export function isModulePath(text: string): boolean {
  return /[/\\]/u.test(text) || /\.[cm]?[jt]s$/u.test(text)
}

/**
 * The factory that the module exports as `scheduler`, tried out once. The schedulers it makes carry the file in their
 * names, so that what goes wrong in a connection tells where.
 * @throws UserError `ERR_OPTION` when the file is missing, does not load, or exports no usable scheduler.
 */
export async function loadScheduler(file: string): Promise<PacketSchedulerFactory> {
  const make = factoryOf(await load(file), file)
  const named = (): PacketScheduler => {
    const made = usable(attempt(make, file), file)
    return new NamedScheduler(made, file)
  }
  named()
  return named
}

async function load(file: string): Promise<Readonly<Record<string, unknown>>> {
  const url = pathToFileURL(resolve(file)).href
  try {
    return (await import(url)) as Readonly<Record<string, unknown>>
  } catch (error) {
    const isMissing = codeOf(error) === 'ERR_MODULE_NOT_FOUND' && Reflect.get(error as object, 'url') === url
    if (isMissing)
      throw problem('there is no such scheduler module', file, `Name one of yours, e.g. ./my-scheduler.ts.`)
    throw problem(`the scheduler module does not load: ${firstLine(error)}`, file, 'Correct it and try again.', error)
  }
}

function factoryOf(module: Readonly<Record<string, unknown>>, file: string): () => unknown {
  const found = module[EXPORT]
  if (typeof found === 'function') return found as () => unknown
  const names = Object.keys(module).join(', ')
  const what = found === undefined ? `exports no "${EXPORT}"` : `exports "${EXPORT}" that is no function`
  throw problem(
    `the scheduler module ${what}${names === '' ? '' : ` (it exports ${names})`}`,
    file,
    `Export a function that makes a scheduler: export const ${EXPORT} = () => ({ name, pick }).`,
  )
}

function attempt(make: () => unknown, file: string): unknown {
  try {
    return make()
  } catch (error) {
    throw problem(
      `"${EXPORT}" of the scheduler module threw: ${firstLine(error)}`,
      file,
      'Correct it and try again.',
      error,
    )
  }
}

function usable(made: unknown, file: string): PacketScheduler {
  const { name, pick, onSent } = (typeof made === 'object' && made !== null ? made : {}) as Partial<
    Record<keyof PacketScheduler, unknown>
  >
  const isOther = onSent !== undefined && typeof onSent !== 'function'
  if (typeof name === 'string' && name !== '' && typeof pick === 'function' && !isOther) return made as PacketScheduler
  throw problem(
    `"${EXPORT}" of the scheduler module made something that is no scheduler`,
    file,
    'It must return an object with a name, a function pick and, if it likes, a function onSent.',
  )
}

/** Says in its name which file it is of. */
class NamedScheduler implements PacketScheduler {
  readonly name: string
  readonly #made: PacketScheduler

  constructor(made: PacketScheduler, file: string) {
    this.name = `${made.name} (${file})`
    this.#made = made
  }

  pick(schedule: Schedule): number {
    return this.#made.pick(schedule)
  }

  onSent(lane: Lane, bytes: number): void {
    this.#made.onSent?.(lane, bytes)
  }
}

function firstLine(error: unknown): string {
  return (messageOf(error).split('\n')[0] ?? '').replace(/\.$/u, '')
}

function problem(what: string, where: string, remedy: string, cause?: unknown): UserError {
  return new UserError('ERR_OPTION', { what, where: `--scheduler ${where}`, remedy, cause })
}
