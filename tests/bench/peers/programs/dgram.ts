/** Ping-pong of small messages over node:dgram without a protocol: what latencies are held against. */
import { createSocket } from 'node:dgram'
import { Arguments, MESSAGE_BYTES, percentile, report } from './arguments.ts'

const given = new Arguments()
const socket = createSocket('udp4')
process.on('SIGTERM', () => process.exit(0))
if (given.role === 'server') serve()
else pingpong()

function serve(): void {
  socket.on('message', (message, from) => socket.send(message, from.port, from.address))
  socket.bind(0, '127.0.0.1', () => report('listening', { port: socket.address().port }))
}

function pingpong(): void {
  const message = new Uint8Array(MESSAGE_BYTES).fill(5)
  const warmAt = performance.now() + given.number('warmup') * 1000
  const endAt = warmAt + given.number('seconds') * 1000
  const times: number[] = []
  let beganAt = 0
  let isReady = false
  const send = () => {
    beganAt = performance.now()
    socket.send(message)
  }
  socket.on('message', () => {
    const now = performance.now()
    if (isReady) times.push((now - beganAt) * 1000)
    else if (now >= warmAt) {
      isReady = true
      report('ready')
    }
    if (now < endAt) return send()
    report('result', { count: times.length, p50Us: percentile(times, 0.5), p99Us: percentile(times, 0.99) })
  })
  socket.connect(given.number('port'), '127.0.0.1', send)
}
