/** Sessions in the situations that tests of rules start from, and what to ask of them afterwards. */
import assert from 'node:assert/strict'
import { type H3ErrorName, h3ErrorName } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import type { HeaderList } from '../headers.ts'
import { RawPeer } from './raw-peer.ts'

export const GET: HeaderList = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'example.test'],
  [':path', '/'],
]
export const POST: HeaderList = [[':method', 'POST'], ...GET.slice(1)]
export const OK: HeaderList = [[':status', '200']]
export const CONTROL = 0x00
export const PUSH = 0x01
export const ENCODER = 0x02
export const DECODER = 0x03

export function closesWith(peer: RawPeer, name: H3ErrorName): void {
  peer.network.run()
  assert.equal(peer.closeCode === undefined ? undefined : h3ErrorName(peer.closeCode), name)
}

export function staysOpen(peer: RawPeer): void {
  peer.network.run()
  assert.equal(peer.closeCode, undefined)
}

/** A session as client with one open request, its stream, and what it saw. */
export function clientWithRequest(method = 'GET'): { peer: RawPeer; exchange: Exchange; log: string[] } {
  const peer = new RawPeer('client')
  const log: string[] = []
  const headers =
    method === 'CONNECT'
      ? [[':method', 'CONNECT'] as const, [':authority', 'a:1'] as const]
      : [[':method', method] as const, ...GET.slice(1)]
  const exchange = peer.session.request(headers, {
    endStream: method !== 'CONNECT',
    events: {
      onResponse: (head) => log.push(`response ${head.status}`),
      onInformational: (head) => log.push(`informational ${head.status}`),
      onReadable: () => exchange?.readBody((chunk) => log.push(`body ${chunk.length}`)),
      onInboundError: (error) => log.push(`error ${error.code} ${error.h3Name} ${error.by}`),
    },
  })
  assert.ok(exchange)
  peer.network.run()
  return { peer, exchange, log }
}

/** A server that reads every body and answers when it is complete. */
export function readingServer(): { peer: RawPeer; log: string[] } {
  const log: string[] = []
  const peer = new RawPeer('server', {
    onRequest: (exchange) => {
      log.push(`${exchange.request.method} ${exchange.request.path ?? ''}`)
      exchange.events = {
        onReadable: () => {
          const status = exchange.readBody((chunk) => log.push(`body ${chunk.length}`))
          if (status === 'finished' && exchange.isInboundEnded && !exchange.areHeadersSent) {
            log.push(`end ${JSON.stringify(exchange.trailers ?? null)}`)
            exchange.respond(200, [], { endStream: true })
          }
        },
        onInboundError: (error) => log.push(`error ${error.code} ${error.h3Name} ${error.by}`),
      }
      if (exchange.isInboundEnded) exchange.respond(200, [], { endStream: true })
    },
  })
  return { peer, log }
}

/** The lines of requests; whether an end is seen with them or later depends on the network. */
export function requests(log: readonly string[]): string[] {
  return log.filter((line) => /^[A-Z]/.test(line))
}
