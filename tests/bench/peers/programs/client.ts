/** The client's side of all cases, for stacks that are driven from Node.js. */
import { type Arguments, ECHO, ENDLESS, head, MESSAGE_BYTES, pause, percentile, report } from './arguments.ts'

/** A bidirectional stream that the client has opened. */
export interface BenchStream {
  onData: (bytes: number) => void
  onEnd: () => void
  /** A few bytes, sent as they are. */
  write(bytes: Uint8Array): void
  finish(): void
  /** Sends what `source` gives as fast as it is taken, and finishes when it gives nothing more. */
  pump(source: () => Uint8Array | undefined): void
}

export interface BenchConnection {
  /** Whether the last handshake was resumed, and its early data accepted; undefined = not known. */
  readonly resumed: boolean | undefined
  readonly early: boolean | undefined
  /** Settles when the handshake is complete. */
  settled(): Promise<unknown>
  open(): BenchStream | Promise<BenchStream>
  close(): void
}

export interface Stack {
  /** Resolves when streams can be opened. */
  connect(mode: Mode): Promise<BenchConnection>
  /** Bytes of an upload that are handed over at once; 256 KiB when absent. Slow stacks take less, to end in time. */
  readonly chunkBytes?: number
}

export type Mode = 'full' | 'resumed' | 'early'

const CHUNK_BYTES = 256 * 1024

/** Runs the case of the command line; afterwards the runner ends the process. */
export async function runClient(given: Arguments, stack: Stack): Promise<void> {
  const cases: Readonly<Record<string, (given: Arguments, stack: Stack) => Promise<void>>> = {
    bulk,
    requests: (a, s) => requests(a, s, 1),
    scale: (a, s) => requests(a, s, a.number('connections')),
    handshakes,
    pingpong,
    idle,
    streams,
  }
  const run = cases[given.text('case')]
  if (run === undefined) throw new Error(`there is no case "${given.text('case')}"`)
  process.on('SIGTERM', () => process.exit(0))
  // Keeps the process until it is told to end, whatever the stack does.
  setInterval(() => {}, 60_000)
  await run(given, stack)
}

async function request(connection: BenchConnection, upload: number, download: number): Promise<number> {
  const stream = await connection.open()
  return new Promise((resolve) => {
    let received = 0
    stream.onData = (bytes) => {
      received += bytes
    }
    stream.onEnd = () => resolve(received)
    stream.write(head(download, upload))
    stream.finish()
  })
}

async function bulk(given: Arguments, stack: Stack): Promise<void> {
  const connection = await stack.connect('full')
  const isUpload = given.text('direction') === 'up'
  const [seconds, warmup] = [given.number('seconds'), given.number('warmup')]
  report('ready')
  const startedAt = performance.now()
  const endAt = startedAt + (seconds + warmup) * 1000
  let total = 0
  const chunk = new Uint8Array(stack.chunkBytes ?? CHUNK_BYTES).fill(7)
  const source = () => {
    if (performance.now() >= endAt) return undefined
    total += chunk.length
    return chunk
  }
  const ends: Promise<void>[] = []
  for (let i = given.number('streams'); i > 0; i--) {
    const stream = await connection.open()
    ends.push(new Promise((resolve) => (stream.onEnd = resolve)))
    stream.write(head(isUpload ? 0 : ENDLESS))
    if (isUpload) stream.pump(source)
    else {
      stream.onData = (bytes) => {
        total += bytes
      }
      stream.finish()
    }
  }
  await pause(warmup)
  const [warm, warmAt] = [total, performance.now()]
  if (isUpload) await Promise.all(ends)
  else await pause((endAt - performance.now()) / 1000)
  report('result', { bytes: total - warm, seconds: (performance.now() - warmAt) / 1000, totalBytes: total })
}

async function connectMany(stack: Stack, count: number): Promise<BenchConnection[]> {
  const connections: BenchConnection[] = []
  while (connections.length < count) connections.push(await stack.connect('full'))
  return connections
}

async function requests(given: Arguments, stack: Stack, count: number): Promise<void> {
  const connections = await connectMany(stack, count)
  for (const connection of connections) await request(connection, MESSAGE_BYTES - 8, MESSAGE_BYTES)
  report('ready')
  const startedAt = performance.now()
  const endAt = startedAt + given.number('seconds') * 1000
  let done = 0
  let next = 0
  const worker = async () => {
    while (performance.now() < endAt) {
      const connection = connections[next++ % connections.length] as BenchConnection
      const received = await request(connection, MESSAGE_BYTES - 8, MESSAGE_BYTES)
      if (received !== MESSAGE_BYTES) throw new Error(`an answer of ${received} bytes instead of ${MESSAGE_BYTES}`)
      done++
    }
  }
  await Promise.all(Array.from({ length: given.number('concurrency') }, worker))
  report('result', { count: done, seconds: (performance.now() - startedAt) / 1000 })
}

/** Connects, has one byte answered, closes; in mode `early` the request goes with the first flight. */
async function handshakes(given: Arguments, stack: Stack): Promise<void> {
  const mode = given.text('mode') as Mode
  const first = await stack.connect(mode)
  await request(first, 0, 1)
  await pause(0.1)
  first.close()
  report('ready')
  const startedAt = performance.now()
  const endAt = startedAt + given.number('seconds') * 1000
  const [connected, answered]: [number[], number[]] = [[], []]
  let resumed = 0
  let early = 0
  const worker = async () => {
    while (performance.now() < endAt) {
      const beganAt = performance.now()
      const connection = await stack.connect(mode)
      connected.push((performance.now() - beganAt) * 1000)
      await request(connection, 0, 1)
      answered.push((performance.now() - beganAt) * 1000)
      await connection.settled()
      if (connection.resumed) resumed++
      if (connection.early) early++
      connection.close()
    }
  }
  await Promise.all(Array.from({ length: given.number('concurrency') }, worker))
  report('result', {
    count: answered.length,
    seconds: (performance.now() - startedAt) / 1000,
    resumed,
    early,
    connectedP50Us: percentile(connected, 0.5),
    answeredP50Us: percentile(answered, 0.5),
  })
}

async function pingpong(given: Arguments, stack: Stack): Promise<void> {
  const connection = await stack.connect('full')
  const stream = await connection.open()
  const message = new Uint8Array(MESSAGE_BYTES).fill(5)
  stream.write(head(ECHO))
  if (given.text('load') === '1') void request(connection, 0, ENDLESS)
  const warmAt = performance.now() + given.number('warmup') * 1000
  const endAt = warmAt + given.number('seconds') * 1000
  const times: number[] = []
  await new Promise<void>((resolve) => {
    let left = MESSAGE_BYTES
    let beganAt = performance.now()
    let isReady = false
    stream.onData = (bytes) => {
      left -= bytes
      if (left > 0) return
      const now = performance.now()
      if (now >= warmAt && !isReady) {
        isReady = true
        report('ready')
      } else if (isReady) times.push((now - beganAt) * 1000)
      if (now >= endAt) return resolve()
      left = MESSAGE_BYTES
      beganAt = performance.now()
      stream.write(message)
    }
    stream.write(message)
  })
  report('result', { count: times.length, p50Us: percentile(times, 0.5), p99Us: percentile(times, 0.99) })
}

/** Says that a step is reached, and waits until the runner has looked. */
function announce(step: number): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGUSR2', () => resolve())
    report(`step${step}`)
  })
}

/** Opens connections up to each count, each with one answered request, and keeps them. */
async function idle(given: Arguments, stack: Stack): Promise<void> {
  const connections: BenchConnection[] = []
  for (const step of given.steps()) {
    while (connections.length < step) {
      const connection = await stack.connect('full')
      await request(connection, 0, 1)
      connections.push(connection)
    }
    await announce(step)
  }
}

/** Opens streams of one connection up to each count, each with one echoed byte, and keeps them open. */
async function streams(given: Arguments, stack: Stack): Promise<void> {
  const connection = await stack.connect('full')
  const open: BenchStream[] = []
  for (const step of given.steps()) {
    while (open.length < step) {
      const stream = await connection.open()
      await new Promise<void>((resolve) => {
        stream.onData = () => resolve()
        stream.write(head(ECHO, 1))
      })
      open.push(stream)
    }
    await announce(step)
  }
}
