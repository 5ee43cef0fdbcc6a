/** Reads the logs of ngtcp2's example programs: what happened on each connection. */

export interface Ngtcp2Connection {
  version: number
  alpn: string | null
  cipher: string | null
  handshakeComplete: boolean
  /** Of the program's own clock. */
  handshakeMs: number
  zeroRttPackets: number
  isEarlyDataRejected: boolean
  migrations: number
  usedPreferredAddress: boolean
  closed: { readonly code: number; readonly reason: string } | null
  /** Client: status of the response by stream ID. */
  readonly statuses: Map<number, number>
  /** Server, in order of arrival. */
  readonly requests: { readonly path: string; readonly early: boolean; readonly bytes: number }[]
}

const cipherNames: Readonly<Record<string, string>> = {
  'AES-128-GCM': 'TLS_AES_128_GCM_SHA256',
  'AES-256-GCM': 'TLS_AES_256_GCM_SHA384',
  'CHACHA20-POLY1305': 'TLS_CHACHA20_POLY1305_SHA256',
}

/** Lines of the library: milliseconds since the connection began, its own connection ID, what happened. */
const libraryLine = /^I(\d+) 0x([0-9a-f]+) (.*)$/

function emptyConnection(): Ngtcp2Connection {
  return {
    version: 0,
    alpn: null,
    cipher: null,
    handshakeComplete: false,
    handshakeMs: 0,
    zeroRttPackets: 0,
    isEarlyDataRejected: false,
    migrations: 0,
    usedPreferredAddress: false,
    closed: null,
    statuses: new Map(),
    requests: [],
  }
}

/** The connections of a log, in order. Lines of the program belong to the connection that the library named last. */
export function readNgtcp2Log(text: string, role: 'client' | 'server'): Ngtcp2Connection[] {
  const byId = new Map<string, Ngtcp2Connection>()
  let current: Ngtcp2Connection | undefined
  let atMs = 0
  for (const line of text.split('\n')) {
    const parts = libraryLine.exec(line)
    if (parts !== null) {
      const [, time = '0', id = '', rest = ''] = parts
      atMs = Number(time)
      current = byId.get(id)
      if (current === undefined) {
        current = emptyConnection()
        byId.set(id, current)
      }
      onLibraryLine(current, rest, role)
    } else if (current !== undefined) onProgramLine(current, line, atMs)
  }
  return [...byId.values()]
}

function onLibraryLine(connection: Ngtcp2Connection, line: string, role: 'client' | 'server'): void {
  if (line.startsWith('pkt ')) {
    const version = /version=0x([0-9a-f]+)/.exec(line)?.[1]
    if (version !== undefined && Number.parseInt(version, 16) !== 0 && line.includes('type=Handshake')) {
      connection.version = Number.parseInt(version, 16)
    }
    if (line.includes('type=0RTT')) connection.zeroRttPackets += 1
  }
  const close = /^frm rx .*CONNECTION_CLOSE\(0x1[cd]\) error_code=[^(]*\((?:\w+\))?\(?0x([0-9a-f]+)\)/.exec(line)
  if (close !== null && role === 'server') connection.closed = { code: Number.parseInt(close[1] ?? '', 16), reason: '' }
}

function onProgramLine(connection: Ngtcp2Connection, line: string, atMs: number): void {
  if (line === 'QUIC handshake has completed') {
    connection.handshakeComplete = true
    connection.handshakeMs = atMs
  } else if (line.startsWith('Negotiated ALPN is ')) connection.alpn = line.slice('Negotiated ALPN is '.length)
  else if (line.startsWith('Negotiated cipher suite is ')) {
    const name = line.slice('Negotiated cipher suite is '.length)
    connection.cipher = cipherNames[name] ?? name
  } else if (/early data was rejected/i.test(line)) connection.isEarlyDataRejected = true
  else if (line.startsWith('Changing local address')) connection.migrations += 1
  else if (line.startsWith('selected server preferred_address')) connection.usedPreferredAddress = true
  const status = /^http: stream 0x([0-9a-f]+) \[:status: (\d+)\]$/.exec(line)
  if (status !== null) connection.statuses.set(Number.parseInt(status[1] ?? '', 16), Number(status[2]))
  const path = /^http: stream 0x[0-9a-f]+ \[:path: (.*)\]$/.exec(line)
  if (path !== null) {
    connection.requests.push({ path: path[1] ?? '', early: !connection.handshakeComplete, bytes: 0 })
  }
}
