/** Unreliable messages (RFC 9221). Arguments: port and pin of examples/echo-server.ts. */
import { connect } from 'quicether'

const [port, pin = ''] = process.argv.slice(2)
await using connection = await connect({ host: '127.0.0.1', port: Number(port), alpn: ['echo'], pinned: [pin] })
const { datagrams } = connection
// A datagram may be lost on the way, as with UDP: say it again until somebody answers.
const again = setInterval(() => datagrams.send(new TextEncoder().encode('ping')), 50)
for await (const answer of datagrams) {
  console.log(`${new TextDecoder().decode(answer)}, at most ${datagrams.bytesMax} bytes each`)
  break
}
clearInterval(again)
