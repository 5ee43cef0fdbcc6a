/** WebTransport client. Arguments: port and pin of examples/webtransport-server.ts. */
import { Http3Agent } from 'quicether'

const [port, pin = ''] = process.argv.slice(2)
await using agent = new Http3Agent({ pinned: [pin], http3: { webTransportSessions: 1 } })
const client = await agent.client(`https://127.0.0.1:${port}`)
const session = await client.webTransport({ authority: `127.0.0.1:${port}`, path: '/' })
const stream = await session.createBidirectionalStream()
stream.end(new TextEncoder().encode('hello over WebTransport'))
console.log(await stream.text())
await session.close(1, 'done')
