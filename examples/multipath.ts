/** Two paths of one connection, used together (RFC 10069). Arguments: port and pin of examples/echo-server.ts. */
import { connect } from 'quicether'

const [port, pin = ''] = process.argv.slice(2)
await using connection = await connect({
  host: '127.0.0.1',
  port: Number(port),
  alpn: ['echo'],
  pinned: [pin],
  config: { maxPaths: 4 },
})
// Real devices have interfaces: `paths: {}` in the options above uses all of them, as they come and go.
await connection.openPath()
const stream = await connection.openStream()
const sent = new Uint8Array(2_000_000)
stream.end(sent)
const received = await stream.bytes()
const used = connection.paths().filter((path) => path.isValidated)
console.log(`${received.length} bytes over ${used.length} paths`)
