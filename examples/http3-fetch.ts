/** `fetch` over HTTP/3. Arguments: port and pin of examples/http3-server.ts. */
import { Http3Agent } from 'quicether'

const [port, pin = ''] = process.argv.slice(2)
await using agent = new Http3Agent({ pinned: [pin], earlyData: true })
const { fetch } = agent

const page = await fetch(`https://127.0.0.1:${port}/early-hints`, {
  onInformational: (status, headers) => console.log(status, headers.get('link')),
})
console.log(page.status, await page.json())
const answer = await fetch(`https://127.0.0.1:${port}/`, { method: 'POST', body: 'louder', urgency: 0 })
console.log(await answer.text())
