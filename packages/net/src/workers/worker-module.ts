/** What the module of a worker group exports. */
import type { WorkerSeat } from './seat.ts'

/** Serves until it is closed. */
export interface WorkerService {
  /**
   * Refuses new connections, lets running ones end for at most `graceMs`, then closes; called again, it may have less
   * time. `QuicListener.close` does all that.
   */
  close(graceMs: number): Promise<void>
}

/** `export const serve: WorkerModule['serve'] = async (seat) => { … listen({ seat, … }) … }` */
export interface WorkerModule {
  serve(seat: WorkerSeat): Promise<WorkerService>
}
