/** A client's run as a table per stream, and as a small picture of the streams over time. */
import { type ClientReport, type ClientStream, formatBytes, formatMs, formatRate, formatTable } from '@quicether/router'

/** One row per stream. */
export function clientTable(streams: readonly ClientStream[]): string {
  const rows = streams.map((stream) => [
    stream.stream === null ? '-' : String(stream.stream),
    stream.service,
    stream.task,
    stream.status === null ? '-' : String(stream.status),
    stream.isRight ? '✔' : '✘',
    formatBytes(stream.requestBytes),
    formatBytes(stream.responseBytes),
    formatMs(stream.headMs),
    formatMs(stream.durationMs),
    formatRate(stream.throughputBytesPerSecond),
    `${stream.packetsSent}/${stream.packetsReceived}`,
    String(stream.retransmissions),
    formatMs(stream.jitterMs),
    stream.note,
  ])
  const titles = [
    'stream',
    'service',
    'task',
    'status',
    'ok',
    'up',
    'down',
    'head',
    'duration',
    'rate',
    'packets',
    'retrans.',
    'jitter',
    'answer',
  ]
  const left = new Set(['service', 'task', 'ok', 'answer'])
  return formatTable(
    titles.map((title) => ({ title, align: left.has(title) ? 'left' : 'right' })),
    rows,
  )
}

/** Connection and totals in a few lines. */
export function clientSummary(report: ClientReport): string {
  const { connection } = report
  return [
    `connection   ${connection.remote}, ${connection.handshake}${connection.resumed ? ' resumed' : ''} in ${formatMs(connection.establishmentMs)}, RTT ${formatMs(connection.smoothedRttMs)}`,
    `packets      ${connection.packetsSent} sent, ${connection.packetsReceived} received, ${connection.packetsLost} lost`,
    `bytes        ${formatBytes(connection.bytesSent)} sent, ${formatBytes(connection.bytesReceived)} received`,
    `streams      ${report.streams.length} (${report.maxConcurrentStreams} at once): ${report.right} right, ${report.wrong} wrong, in ${formatMs(report.durationMs)}`,
  ].join('\n')
}

const pictureColumns = 60

/** A line per stream: when it ran, shaded from the call to the head of the answer and solid from there to the end. */
export function streamPicture(streams: readonly ClientStream[]): string {
  const endMs = Math.max(1, ...streams.map((stream) => stream.startMs + stream.durationMs))
  const column = (ms: number): number => Math.round((ms / endMs) * pictureColumns)
  const lines = streams.map((stream) => {
    const start = Math.min(column(stream.startMs), pictureColumns - 1)
    const end = Math.max(start + 1, column(stream.startMs + stream.durationMs))
    const head = Math.min(end, Math.max(start, column(stream.startMs + (stream.headMs ?? stream.durationMs))))
    const bar = `${' '.repeat(start)}${'░'.repeat(head - start)}${'█'.repeat(end - head)}`
    return `${String(stream.stream ?? '-').padStart(6)}  ${stream.service.padEnd(7)} ${stream.task.padEnd(9)} │${bar.padEnd(pictureColumns)}│ ${formatMs(stream.durationMs)}`
  })
  const axis = `${' '.repeat(26)}└${'─'.repeat(pictureColumns)}┘`
  const scale = `${' '.repeat(27)}0${formatMs(endMs).padStart(pictureColumns - 1)}`
  return [...lines, axis, scale].join('\n')
}
