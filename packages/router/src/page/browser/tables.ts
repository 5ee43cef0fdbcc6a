/** The tables of the page: services, connections with their paths, and streams. */
import { h, type ComponentChildren } from 'preact'
import type { FeedDocument, ServiceDocument } from '../../ops/feed-document.ts'
import { bytes, count, milliseconds, percent } from './format.ts'

type Connection = FeedDocument['connections'][number]
type Path = Connection['paths'][number]
type Stream = FeedDocument['streams'][number]

interface ColumnHead {
  readonly title: string
  readonly isNumber?: boolean
}

/** One row per service, requests without a route included. */
export function Services({ services }: { readonly services: readonly ServiceDocument[] }): ComponentChildren {
  return table(
    'Services',
    'Latencies are those of the last ten seconds, first byte of the request to the end of the answer.',
    heads('service', '#open', '#requests', '#bytes', '#p50', '#p95', '#slowest', '#running', '#queued', 'state'),
    services.map((service) =>
      row(service.name, [
        h('th', { scope: 'row' }, service.name),
        number(count(service.open)),
        number(count(service.streams)),
        number(bytes(service.bytes)),
        number(milliseconds(service.latency?.p50Ms)),
        number(milliseconds(service.latency?.p95Ms)),
        number(milliseconds(service.latency?.maxMs)),
        number(service.upstream === null ? '–' : count(service.upstream.running)),
        number(service.upstream === null ? '–' : count(service.upstream.queued)),
        h('td', null, healthOf(service)),
      ]),
    ),
    'No service is configured.',
  )
}

/** Open connections, each with a row per path. */
export function Connections(props: {
  readonly connections: readonly Connection[]
  readonly onClose: (id: number) => void
}): ComponentChildren {
  return table(
    'Connections and paths',
    'The newest fifty that are open. A connection may use several paths at once.',
    heads('connection', 'path', 'state', '#round trip', '#window', '#in flight', '#sent', '#received', '#lost', ''),
    props.connections.flatMap((connection) => connectionRows(connection, props.onClose)),
    'Nobody is connected.',
  )
}

function connectionRows(connection: Connection, onClose: (id: number) => void): ComponentChildren[] {
  const { id, remote, paths } = connection
  const head = row(`c${id}`, [
    h('th', { scope: 'row' }, `${id}`),
    h('td', { class: 'address' }, remote),
    h('td', null, [connection.state, connection.handshake === null ? '' : ` · ${connection.handshake}`]),
    number(milliseconds(connection.smoothedRttMs)),
    h('td', { colSpan: 2, class: 'number' }, `${count(connection.streams)} streams`),
    number(bytes(connection.bytesSent)),
    number(bytes(connection.bytesReceived)),
    number(percent(connection.lossRatio)),
    h(
      'td',
      { class: 'action' },
      h('button', { type: 'button', onClick: () => onClose(id), 'aria-label': `Close connection ${id}` }, 'Close'),
    ),
  ])
  return [head, ...paths.map((path) => pathRow(id, path))]
}

function pathRow(id: number, path: Path): ComponentChildren {
  return h('tr', { key: `c${id}p${path.id}`, class: 'path' }, [
    h('td', null, ''),
    h('td', { class: 'address' }, [
      h('span', { class: 'label' }, `path ${path.id} `),
      `${path.local} ↔ ${path.remote}`,
    ]),
    h('td', null, `${path.state}${path.isBackup ? ' · backup' : ''}`),
    number(milliseconds(path.smoothedRttMs > 0 ? path.smoothedRttMs : null)),
    number(bytes(path.windowBytes)),
    h('td', { class: 'number' }, [
      h('meter', {
        min: 0,
        max: Math.max(1, path.windowBytes),
        value: Math.min(path.inFlightBytes, path.windowBytes),
        'aria-label': `Path ${path.id} of connection ${id}: share of the congestion window in flight`,
      }),
      ` ${bytes(path.inFlightBytes)}`,
    ]),
    number(bytes(path.bytesSent)),
    number(bytes(path.bytesReceived)),
    number(count(path.packetsLost)),
    h('td', null, ''),
  ])
}

/** One row per stream, newest first. */
export function Streams({ streams }: { readonly streams: readonly Stream[] }): ComponentChildren {
  return table(
    'Streams',
    'Open ones first, then those that ended last.',
    heads(
      'stream',
      'service',
      'request',
      '#status',
      'outcome',
      '#up',
      '#down',
      '#duration',
      '#service time',
      '#router time',
    ),
    streams.map((stream) =>
      row(`${stream.connection}/${stream.stream}/${stream.openedAt}`, [
        h('th', { scope: 'row' }, `${stream.connection}/${stream.stream}`),
        h('td', null, stream.type),
        h('td', { class: 'request', title: `${stream.method} ${stream.path}` }, `${stream.method} ${stream.path}`),
        number(stream.status === null ? '–' : String(stream.status)),
        h('td', { class: `outcome ${stream.outcome}`, title: stream.error ?? '' }, stream.outcome),
        number(bytes(stream.requestBytes)),
        number(bytes(stream.responseBytes)),
        number(milliseconds(stream.durationMs)),
        number(milliseconds(stream.httpLatencyMs)),
        number(milliseconds(stream.quicLatencyMs)),
      ]),
    ),
    'No request has come yet.',
  )
}

/** Words for the state of the addresses behind a service. */
function healthOf({ upstream }: ServiceDocument): string {
  if (upstream === null) return 'no route'
  const { targets = [] } = upstream
  if (targets.length === 0) return `${count(upstream.connected)} kept`
  const good = targets.filter(({ isHealthy, isEjected }) => isHealthy && !isEjected).length
  return good === targets.length ? 'up' : `${good} of ${targets.length} up`
}

/** A `#` in front marks a column of numbers. */
function heads(...titles: readonly string[]): ColumnHead[] {
  return titles.map((title) =>
    title.startsWith('#') ? { title: title.slice(1), isNumber: true } : { title, isNumber: false },
  )
}

function table(
  title: string,
  about: string,
  columns: readonly ColumnHead[],
  rows: readonly ComponentChildren[],
  whenEmpty: string,
): ComponentChildren {
  const id = title.toLowerCase().replaceAll(' ', '-')
  return h('section', { class: 'card', 'aria-labelledby': id }, [
    h('h2', { id }, title),
    h('p', { class: 'about' }, about),
    // Scrollable by keyboard as well.
    h('div', { class: 'scroll', tabIndex: 0, role: 'region', 'aria-labelledby': id }, [
      h('table', null, [
        h(
          'thead',
          null,
          h(
            'tr',
            null,
            columns.map((column) =>
              h(
                'th',
                { key: column.title, scope: 'col', class: column.isNumber === true ? 'number' : '' },
                column.title,
              ),
            ),
          ),
        ),
        h(
          'tbody',
          null,
          rows.length > 0 ? rows : h('tr', null, h('td', { colSpan: columns.length, class: 'empty' }, whenEmpty)),
        ),
      ]),
    ]),
  ])
}

function row(key: string, cells: ComponentChildren): ComponentChildren {
  return h('tr', { key }, cells)
}

function number(text: string): ComponentChildren {
  return h('td', { class: 'number' }, text)
}
