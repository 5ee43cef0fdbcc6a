/** A thread that runs jobs of a scheduler tournament, one after the other, as it is told. */
import { basename } from 'node:path'
import { isMainThread, type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { Job, JobFigures, PathConfig, TournamentPlan } from '@quicether/lab'
import { messageOf } from '@quicether/router'
import type { CongestionAlgorithm, PacketSchedulerName } from '@quicether/transport'
import { isModulePath, loadScheduler } from '../files/scheduler-module.ts'

/** This module as the entry of a thread. */
export const workerUrl: URL = new URL(import.meta.url)

/** What a thread is started with. */
export interface WorkerOrder {
  readonly task: 'tournament'
  readonly plan: TournamentPlan
  /** Names or module paths, as in `plan.schedulers` but not shortened. */
  readonly schedulers: readonly string[]
}

/** One answer per job, in the order of the jobs. */
export interface WorkerAnswer {
  readonly figures?: JobFigures
  readonly error?: string
}

/** How a scheduler is called in tables: its name, or the file's without its ending. */
export function labelOf(scheduler: string): string {
  return isModulePath(scheduler) ? basename(scheduler).replace(/\.[cm]?[jt]s$/u, '') : scheduler
}

/** The settings of a job: congestion control and, when it is over both links, its scheduler. */
export async function settingsOf(congestion: string | undefined, scheduler?: string): Promise<PathConfig> {
  return {
    ...(congestion === undefined ? {} : { congestion: congestion as CongestionAlgorithm }),
    ...(scheduler === undefined
      ? {}
      : {
          packetScheduler: isModulePath(scheduler)
            ? await loadScheduler(scheduler)
            : (scheduler as PacketSchedulerName),
        }),
  }
}

async function serve(port: MessagePort, { plan, schedulers }: WorkerOrder): Promise<void> {
  const { runJob } = await import('@quicether/lab')
  const alone = await settingsOf(plan.congestion)
  const settings = new Map<string, PathConfig>()
  for (const each of schedulers) settings.set(labelOf(each), await settingsOf(plan.congestion, each))
  port.on('message', (job: Job) => {
    const answer = attempt(() => runJob(job, plan, 'scheduler' in job ? (settings.get(job.scheduler) ?? alone) : alone))
    port.postMessage(answer)
  })
}

/** A run that gets stuck is a result, too. */
function attempt(run: () => JobFigures): WorkerAnswer {
  try {
    return { figures: run() }
  } catch (error) {
    return { error: messageOf(error).split('\n')[0] ?? '' }
  }
}

const order = workerData as WorkerOrder | null | undefined
if (!isMainThread && parentPort !== null && order?.task === 'tournament') await serve(parentPort, order)
