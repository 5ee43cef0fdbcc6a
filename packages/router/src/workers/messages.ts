/** What a router group and its workers tell each other. */
import type { ProxyFailure } from '../proxy.ts'
import type { RouterSetup } from '../router.ts'
import type { Diagnostics } from '../ports.ts'
import type { WorkerMetrics } from './merge-metrics.ts'

/** `seat.data` of a router's worker. */
export interface RouterWorkerData {
  readonly setup: RouterSetup
  readonly diagnostics: Diagnostics
}

/** From the group to its workers. */
export type RouterOrder =
  | { readonly kind: 'reload'; readonly setup: RouterSetup }
  | { readonly kind: 'reopen' }
  | { readonly kind: 'report' }
  | { readonly kind: 'scrape'; readonly question: number }

/** From a worker to its group. */
export type RouterWord =
  | { readonly kind: 'metrics'; readonly generation: number; readonly metrics: WorkerMetrics }
  | { readonly kind: 'reloaded'; readonly problem: string | undefined }
  | { readonly kind: 'scraped'; readonly question: number; readonly text: string }
  | { readonly kind: 'established'; readonly id: number; readonly establishmentMs: number; readonly handshake: string }
  | { readonly kind: 'closed'; readonly id: number; readonly reason: string; readonly isError: boolean }
  | { readonly kind: 'failure'; readonly failure: ProxyFailure }
  | { readonly kind: 'trouble'; readonly message: string }
