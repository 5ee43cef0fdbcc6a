/** What a measurement of worker threads says once the load generator's share is taken out. */

/** One measurement. */
export interface Sample {
  readonly elapsedMs: number
  readonly requests: number
  readonly clientCpuMs: number
  /** Processor time of each worker. */
  readonly workerCpuMs: readonly number[]
}

export interface Figures {
  /** Answers per second as they came. */
  readonly rate: number
  /** Answers per second if the workers had the processors to themselves, one for each. */
  readonly capacity: number
  /** Processor time that a worker spends on one answer, in microseconds. */
  readonly cpuUs: number
  /** Processor time of the load generator for one answer, in microseconds. */
  readonly clientCpuUs: number
  /** Mean of the workers' processor times over the largest: 1 = all did the same. */
  readonly evenness: number
}

/** The busiest worker is full first: with uneven shares the others cannot be. */
export function derive({ elapsedMs, requests, clientCpuMs, workerCpuMs }: Sample): Figures {
  const total = workerCpuMs.reduce((sum, cpuMs) => sum + cpuMs, 0)
  const evenness = total / workerCpuMs.length / Math.max(...workerCpuMs)
  return {
    rate: (requests * 1000) / elapsedMs,
    capacity: ((workerCpuMs.length * requests * 1000) / total) * evenness,
    cpuUs: (total * 1000) / requests,
    clientCpuUs: (clientCpuMs * 1000) / requests,
    evenness,
  }
}
