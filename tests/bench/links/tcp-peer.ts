/** A file over one TCP connection, to be run under mptcpize: `serve FILE PORT`, or `get ADDRESS PORT` to standard output. */
import { createReadStream } from 'node:fs'
import { connect, createServer } from 'node:net'

const [role, ...rest] = process.argv.slice(2)

if (role === 'serve') {
  const [file = '', port] = rest
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    createReadStream(file, { highWaterMark: 1 << 18 }).pipe(socket)
  })
  server.listen(Number(port), '0.0.0.0', () => process.stdout.write('listening\n'))
} else if (role === 'get') {
  const [host = '', port] = rest
  const socket = connect(Number(port), host)
  socket.on('error', (error) => {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  })
  // Nothing is left to read after an interrupt; the pipe must not hold the process.
  process.on('SIGINT', () => process.exit(130))
  socket.pipe(process.stdout)
} else {
  process.stderr.write('usage: tcp-peer.ts serve FILE PORT | get ADDRESS PORT\n')
  process.exitCode = 2
}
