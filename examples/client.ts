/** Raw QUIC client: one stream, there and back. Arguments: port and pin of examples/echo-server.ts. */
import { connect } from 'quicether'

const [port, pin = ''] = process.argv.slice(2)
await using connection = await connect({ host: '127.0.0.1', port: Number(port), alpn: ['echo'], pinned: [pin] })
const stream = await connection.openStream()
stream.end(new TextEncoder().encode('hello over QUIC'))
console.log(await stream.text())
