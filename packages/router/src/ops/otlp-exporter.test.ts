/** Tests of the trace exporter against a receiver that accepts, refuses and comes back. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { OtlpExporter, type Span } from './otlp-exporter.ts'

const span: Span = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: undefined,
  traceState: undefined,
  name: 'GET api',
  kind: 'server',
  startTimeUnixNano: '1',
  endTimeUnixNano: '2',
  attributes: { text: 'x', whole: 3, part: 0.5, yes: true },
  error: 'broken',
}

interface Receiver {
  readonly endpoint: string
  readonly bodies: string[]
}

/** Answers with the statuses in turn, the last one for ever. */
async function receiver(t: TestContext, ...statuses: number[]): Promise<Receiver> {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    request.on('end', () => {
      bodies.push(`${request.url} ${text}`)
      const status = statuses.length > 1 ? statuses.shift() : statuses[0]
      response.writeHead(status ?? 200, status === 503 ? { 'retry-after': '0' } : {}).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { endpoint: `http://127.0.0.1:${address.port}`, bodies }
}

function exporterTo(endpoint: string): { exporter: OtlpExporter; troubles: string[] } {
  const troubles: string[] = []
  const onTrouble = (message: string): void => void troubles.push(message)
  const exporter = new OtlpExporter({ endpoint, serviceName: 'router', headers: {}, onTrouble, intervalMs: 1 })
  return { exporter, troubles }
}

test('spans arrive as OTLP JSON, with integers as text and the failure as status', async (t) => {
  const { endpoint, bodies } = await receiver(t, 200)
  const { exporter } = exporterTo(endpoint)
  exporter.add(span)
  await exporter.close()
  assert.equal(bodies.length, 1)
  const [path, text] = [bodies[0]?.slice(0, 10), bodies[0]?.slice(11) ?? '']
  assert.equal(path, '/v1/traces')
  const resource = JSON.parse(text).resourceSpans[0]
  assert.deepEqual(resource.resource.attributes, [{ key: 'service.name', value: { stringValue: 'router' } }])
  assert.deepEqual(resource.scopeSpans[0].spans[0], {
    traceId: span.traceId,
    spanId: span.spanId,
    name: 'GET api',
    kind: 2,
    startTimeUnixNano: '1',
    endTimeUnixNano: '2',
    attributes: [
      { key: 'text', value: { stringValue: 'x' } },
      { key: 'whole', value: { intValue: '3' } },
      { key: 'part', value: { doubleValue: 0.5 } },
      { key: 'yes', value: { boolValue: true } },
    ],
    status: { code: 2, message: 'broken' },
  })
})

test('a receiver that is overloaded is asked again, and the spans are not lost', async (t) => {
  const { endpoint, bodies } = await receiver(t, 503, 200)
  const { exporter, troubles } = exporterTo(endpoint)
  exporter.add(span)
  await exporter.close(60_000)
  assert.equal(bodies.length, 2)
  assert.deepEqual(exporter.stats(), { sent: 1, dropped: 0, waiting: 0 })
  assert.deepEqual(troubles, [])
})

test('a receiver that refuses is told about once, its spans are counted as dropped', async (t) => {
  const { endpoint } = await receiver(t, 400)
  const { exporter, troubles } = exporterTo(endpoint)
  for (let at = 0; at < 600; at++) exporter.add(span)
  await exporter.close()
  assert.equal(troubles.length, 1)
  assert.match(troubles[0] ?? '', /the receiver answered 400 \(http.*\/v1\/traces\)/u)
  assert.ok(exporter.stats().dropped > 0)
  assert.equal(exporter.stats().sent, 0)
})

test('spans beyond the bound are dropped and counted while nothing can be sent', () => {
  const exporter = new OtlpExporter({
    endpoint: 'http://127.0.0.1:9',
    serviceName: 'router',
    headers: {},
    onTrouble: () => {},
    intervalMs: 3_600_000,
  })
  for (let at = 0; at < 3_000; at++) exporter.add(span)
  assert.deepEqual(exporter.stats(), { sent: 0, dropped: 952, waiting: 2_048 })
})
