/** One worker thread of `quicether serve --workers`. */
import type { WorkerSeat, WorkerService } from '@quicether/net'
import { type FileServerOptions, startFileServer } from './file-server.ts'

/** The function of a worker module; `seat.data` are the options of a file server. */
export async function serve(seat: WorkerSeat): Promise<WorkerService> {
  return await startFileServer(seat.data as FileServerOptions, { seat, port: seat.port })
}
