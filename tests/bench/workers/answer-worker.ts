/** The server of the workers' benchmark: one worker thread that answers HTTP/3 requests. */
import { serveHttp3 } from '@quicether/http3'
import { type Identity, listen, type WorkerSeat, type WorkerService } from '@quicether/net'

/** `seat.data` of the benchmark's workers. */
export interface AnswerData {
  readonly identity: Identity
  /** Bytes of each answer's body. */
  readonly answerBytes: number
}

/** The function of the worker module. */
export async function serve(seat: WorkerSeat): Promise<WorkerService> {
  const { identity, answerBytes } = seat.data as AnswerData
  const body = new Uint8Array(answerBytes).fill(0x5a)
  const headers = [['content-length', String(answerBytes)]] as const
  const listener = await listen({ port: 0, identities: [identity], alpn: ['h3'], seat }, (connection) => {
    serveHttp3(connection, (_request, response) => response.send(200, headers, body))
  })
  return { close: (graceMs) => listener.close({ graceMs }) }
}
