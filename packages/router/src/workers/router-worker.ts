/** One worker thread of a router: a router of its own on a seat of the group, whose reports the group writes. */
import type { WorkerSeat, WorkerService } from '@quicether/net'
import { Panel } from '../ops/panel.ts'
import { Reloader } from '../ops/reloader.ts'
import { type RouterLog, startRouter } from '../router.ts'
import { listenOnSeat } from '../transport-server.ts'
import { withSamples } from './merge-metrics.ts'
import type { RouterOrder, RouterWord, RouterWorkerData } from './messages.ts'

/** The function of the worker module. */
export async function serve(seat: WorkerSeat): Promise<WorkerService> {
  const { setup, diagnostics } = seat.data as RouterWorkerData
  const say = (word: RouterWord): void => seat.tell(word)
  const { generation } = seat
  const listen = listenOnSeat(seat)
  const router = await startRouter({
    ...setup,
    diagnostics,
    log: logTo(say),
    // One thread serves what comes over TCP.
    listen: (options, onConnection) =>
      listen({ ...options, port: seat.port, tcp: options.tcp === true && seat.index === 0 }, onConnection),
    onDocument: (document) => say({ kind: 'metrics', generation, metrics: withSamples(document) }),
  })
  let next = setup
  const problems: string[] = []
  const reloader = new Reloader({
    router,
    load: async () => next,
    files: () => [],
    onLine: () => {},
    onTrouble: (message) => problems.push(message),
  })
  const panel = new Panel({ router, reloader, configFile: undefined })
  const reload = async (): Promise<void> => {
    await reloader.reload('group')
    say({ kind: 'reloaded', problem: problems.splice(0).at(-1) })
  }
  seat.onTold = (value) => {
    const order = value as RouterOrder
    if (order.kind === 'reload') {
      next = order.setup
      void reload()
    } else if (order.kind === 'reopen') router.observers.reopen()
    else if (order.kind === 'report') router.writeReports('interval')
    else say({ kind: 'scraped', question: order.question, text: panel.metrics() })
  }
  return {
    close: async (graceMs) => {
      panel.stop()
      // Called again: the grace is over.
      await (router.isDraining ? router.closeNow() : router.close(graceMs))
    },
  }
}

function logTo(say: (word: RouterWord) => void): RouterLog {
  return {
    onConnection: () => {},
    onEstablished: (id, establishmentMs, handshake) => say({ kind: 'established', id, establishmentMs, handshake }),
    onConnectionClosed: (id, reason, isError) => say({ kind: 'closed', id, reason, isError }),
    onFailure: (failure) => say({ kind: 'failure', failure }),
    onTrouble: (message) => say({ kind: 'trouble', message }),
  }
}
