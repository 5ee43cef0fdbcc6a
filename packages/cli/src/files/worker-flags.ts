/** The flag `--workers` of servers, and what is said about worker threads. */
import { availableParallelism } from 'node:os'
import type { WorkerFailure, WorkerGroup } from '@quicether/net'
import { messageOf, UserError, type UserErrorCode } from '@quicether/router'
import type { Command } from 'commander'
import { wholeNumber } from '../option-values.ts'

const workersMax = 64

/** Adds the flag to a command. */
export function addWorkersOption(command: Command): Command {
  return command.option(
    '--workers <count>',
    'threads to serve with, or auto = one for each processor (default: 1)',
    workers,
  )
}

function workers(text: string): number {
  return text === 'auto' ? Math.min(availableParallelism(), workersMax) : wholeNumber(1, workersMax)(text)
}

/** Throws `UserError` when workers would write to one file at once. */
export function checkWorkers(workers: number, { capture }: { readonly capture?: string | undefined }): void {
  if (workers === 1 || capture === undefined) return
  throw new UserError('ERR_OPTION', {
    what: 'several workers cannot write to one capture',
    where: '--capture and --workers',
    remedy: 'Capture with --workers 1, or let the workers write --qlog and --keylog.',
  })
}

/** How datagrams find their worker, as a line for the user. */
export function describeGroup(group: WorkerGroup): string {
  const { workers, isSteered, steeringRefusal } = group
  if (workers === 1) return '1'
  if (isSteered) return `${workers}, datagrams are delivered by connection ID`
  const why = steeringRefusal === undefined ? '' : ` (the system refuses a steering program, errno ${steeringRefusal})`
  return `${workers}, datagrams are delivered by address${why}; clients that move are served through another worker`
}

/** A `UserError` that a worker has thrown, which comes as an error of another class. */
export function revived(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== 'UserError' || error instanceof UserError) return error
  const [code, what, where, remedy] = ['code', 'what', 'where', 'remedy'].map((name) =>
    String(Reflect.get(error, name)),
  )
  return new UserError(code as UserErrorCode, { what: what ?? '', where: where ?? '', remedy: remedy ?? '' })
}

/** Says on standard error that a worker has failed. */
export function sayFailure({ index, problem, restartMs }: WorkerFailure): void {
  const what = messageOf(problem).replace(/\.$/u, '')
  process.stderr.write(`quicether: worker ${index} failed: ${what}. It is started again in ${restartMs / 1000} s.\n`)
  if (process.env['QUICETHER_DEBUG'] !== undefined) process.stderr.write(`${problem.stack}\n`)
}
