/** Joins a client's WebTransport session to the one that the router opened at the service: streams, datagrams, the end. */
import type { WebTransportSession } from '@quicether/http3'
import { type QuicStream, QuicStreamError } from '@quicether/net'

/** Settles when both sessions are over; never rejects. */
export async function bridgeSessions(client: WebTransportSession, service: WebTransportSession): Promise<void> {
  carryAll(client, service)
  carryAll(service, client)
  await Promise.all([passEnd(client, service), passEnd(service, client)])
}

/** Everything that `from` opens and sends goes to `to`. */
function carryAll(from: WebTransportSession, to: WebTransportSession): void {
  ignoreEnd(carryStreams(from.incomingBidirectionalStreams, () => to.createBidirectionalStream()))
  ignoreEnd(carryStreams(from.incomingUnidirectionalStreams, () => to.createUnidirectionalStream()))
  ignoreEnd(carryDatagrams(from, to))
  void from.draining.then(() => to.drain())
}

async function passEnd(from: WebTransportSession, to: WebTransportSession): Promise<void> {
  const { code, reason } = await from.closed
  await to.close(code, reason)
}

async function carryStreams(incoming: AsyncIterable<QuicStream>, open: () => Promise<QuicStream>): Promise<void> {
  for await (const stream of incoming) {
    // Waiting for the other side's limit of streams holds the next ones back, which is flow control at work.
    const counterpart = await open().catch(() => undefined)
    if (counterpart === undefined) {
      stream.abort(0)
      continue
    }
    ignoreEnd(pipe(stream, counterpart))
    if (stream.kind === 'bidirectional') ignoreEnd(pipe(counterpart, stream))
  }
}

async function carryDatagrams(from: WebTransportSession, to: WebTransportSession): Promise<void> {
  for await (const payload of from.datagrams) to.datagrams.send(payload)
}

/** Bytes, the end, and the codes of resets and stops pass; a slow reader slows the writer down. */
async function pipe(from: QuicStream, to: QuicStream): Promise<void> {
  try {
    for await (const chunk of from) {
      try {
        await to.write(chunk)
      } catch (error) {
        from.stop(codeOf(error))
        return
      }
    }
    if (to.isWritable) to.end()
  } catch (error) {
    to.reset(codeOf(error))
  }
}

/** The application's code of a reset or stop; 0 where there is none. */
function codeOf(error: unknown): number {
  return error instanceof QuicStreamError ? (error.applicationCode ?? 0) : 0
}

/** Ends of sessions come through `closed`. */
function ignoreEnd(promise: Promise<void>): void {
  promise.catch(() => {})
}
