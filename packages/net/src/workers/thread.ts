/** Where a worker thread begins: takes its seat, loads the module of the group and lets it serve. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { QuicError } from '@quicether/transport'
import type { Order, Report, WorkerPlan } from './messages.ts'
import { WorkerSeat } from './seat.ts'
import type { WorkerModule, WorkerService } from './worker-module.ts'

/** The thread runs until the group closes it. */
export async function runThread(plan: WorkerPlan, group: MessagePort): Promise<void> {
  const report = (message: Report): void => group.postMessage(message)
  const seat = new WorkerSeat(plan, report)
  const { promise: service, resolve } = Promise.withResolvers<WorkerService>()
  const close = async (graceMs: number): Promise<void> => {
    await (await service).close(graceMs)
    report({ kind: 'closed' })
  }
  group.on('message', (order: Order) => {
    if (order.kind === 'close') void close(order.graceMs)
    else seat.obey(order)
  })
  const { serve } = (await import(plan.module)) as Partial<WorkerModule>
  if (typeof serve !== 'function') {
    const message = `${plan.module} exports no function 'serve'; a worker module needs: export async function serve(seat)`
    throw new QuicError('ERR_WORKERS', message)
  }
  resolve(await serve(seat))
  report({ kind: 'ready' })
}

if (parentPort !== null) await runThread(workerData as WorkerPlan, parentPort)
