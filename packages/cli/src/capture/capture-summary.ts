/** What a decoded capture adds up to: packets and bytes of every path, and what could not be read. */
import type { CaptureTotals, DecodedPacket } from '@quicether/net'
import { type Column, formatTable } from '@quicether/router'

/** Paths with a row of their own; further ones share the last. */
const ROWS_MAX = 1_000

const right = (title: string): Column => ({ title, align: 'right' })
const columns: readonly Column[] = [
  { title: 'connection' },
  right('path'),
  { title: 'client → server' },
  right('packets'),
  right('bytes'),
  right('back'),
  right('bytes'),
  right('unread'),
]

interface PathCount {
  readonly connection: number
  readonly path: number
  packetsUp: number
  bytesUp: number
  packetsDown: number
  bytesDown: number
  unread: number
  /** Addresses of client and server, of the packet seen last. */
  addresses: string
}

export class CaptureSummary {
  readonly #paths = new Map<string, PathCount>()
  readonly #problems = new Map<string, number>()

  /** Counts a packet; returns a line when its path is new or has moved to other addresses. */
  add(packet: DecodedPacket): string | undefined {
    const { connection, path, sender, length, problem } = packet
    if (problem !== undefined) this.#problems.set(problem, (this.#problems.get(problem) ?? 0) + 1)
    if (connection === undefined || path === undefined) return undefined
    const count = this.#countOf(connection, path)
    if (problem !== undefined) count.unread++
    if (sender === 'client') {
      count.packetsUp++
      count.bytesUp += length
    } else {
      count.packetsDown++
      count.bytesDown += length
    }
    const addresses = sender === 'client' ? `${packet.from} → ${packet.to}` : `${packet.to} → ${packet.from}`
    if (count.addresses === addresses || problem !== undefined) return undefined
    const verb = count.addresses === '' ? 'is' : 'is now'
    count.addresses = addresses
    return `#${connection} path ${path} ${verb} ${addresses}`
  }

  /** For people. */
  text(totals: CaptureTotals): string {
    const { captured, packets, decrypted, connections, otherProtocols } = totals
    const rows = [...this.#paths.values()].map((row) => [
      `#${row.connection}`,
      String(row.path),
      row.addresses,
      String(row.packetsUp),
      String(row.bytesUp),
      String(row.packetsDown),
      String(row.bytesDown),
      String(row.unread),
    ])
    const table = rows.length === 0 ? '' : `${formatTable(columns, rows).trimEnd()}\n\n`
    const others = otherProtocols === 0 ? '' : `, ${otherProtocols} of other protocols`
    const lines = [
      `${captured} packets captured${others}; ${packets} QUIC packets of ${connections} ${connections === 1 ? 'connection' : 'connections'}, ${decrypted} read`,
      ...[...this.#problems].map(([problem, count]) => `${count} not read: ${problem}${remedy(problem, totals)}`),
    ]
    return `${table}${lines.join('\n')}\n`
  }

  /** For scripts, one line. */
  json(totals: CaptureTotals): string {
    const paths = [...this.#paths.values()]
    return `${JSON.stringify({ type: 'summary', ...totals, paths, problems: Object.fromEntries(this.#problems) })}\n`
  }

  #countOf(connection: number, path: number): PathCount {
    const key = `${connection} ${path}`
    const known = this.#paths.get(key)
    if (known !== undefined) return known
    const last = [...this.#paths.values()].at(-1)
    if (this.#paths.size >= ROWS_MAX && last !== undefined) return last
    const fresh = {
      connection,
      path,
      packetsUp: 0,
      bytesUp: 0,
      packetsDown: 0,
      bytesDown: 0,
      unread: 0,
      addresses: '',
    }
    this.#paths.set(key, fresh)
    return fresh
  }
}

function remedy(problem: string, { secrets }: CaptureTotals): string {
  if (problem === 'cut by the capture') return '; capture whole packets'
  if (problem === 'unknown connection ID')
    return ' (no handshake of theirs is in the file, or these are no QUIC packets)'
  if (problem !== 'no keys') return ''
  return secrets === 0
    ? '; the file has no secrets: give a key log with --keys'
    : '; no secrets for these connections: give their key log with --keys'
}
