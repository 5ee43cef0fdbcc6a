/** Spreads the jobs of a tournament over threads and gathers their outcomes in the order of the jobs. */
import { Worker } from 'node:worker_threads'
import type { Job, JobOutcome, TournamentPlan } from '@quicether/lab'
import { type WorkerAnswer, type WorkerOrder, workerUrl } from './worker.ts'

export interface PoolOptions {
  readonly plan: TournamentPlan
  /** Names or module paths, one for each label of the plan. */
  readonly schedulers: readonly string[]
  readonly threads: number
  readonly onDone?: (done: number, of: number, last: Job) => void
}

/** Runs all jobs; rejects when a thread itself dies, not when a run gets stuck. */
export async function runJobs(jobs: readonly Job[], options: PoolOptions): Promise<JobOutcome[]> {
  const { plan, schedulers, threads, onDone } = options
  const order: WorkerOrder = { task: 'tournament', plan, schedulers }
  const outcomes: JobOutcome[] = []
  let next = 0
  let done = 0
  const work = (worker: Worker): Promise<void> =>
    new Promise((resolve, reject) => {
      let index = -1
      const hand = (): void => {
        index = next++
        const job = jobs[index]
        if (job === undefined) resolve()
        else worker.postMessage(job)
      }
      worker.on('message', (answer: WorkerAnswer) => {
        const job = jobs[index] as Job
        outcomes[index] = { job, ...answer }
        onDone?.(++done, jobs.length, job)
        hand()
      })
      worker.on('error', reject)
      worker.on('exit', (code) => reject(new Error(`a thread of the tournament ended early with code ${code}`)))
      hand()
    })
  const workers = Array.from(
    { length: Math.min(threads, jobs.length) },
    () => new Worker(workerUrl, { workerData: order }),
  )
  try {
    await Promise.all(workers.map(work))
  } finally {
    for (const worker of workers) worker.removeAllListeners('exit')
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
  return outcomes
}
