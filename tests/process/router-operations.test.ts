/** What an operator does to a router that serves: looks at it, reloads it, swaps its certificate, rotates its log. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { askAdmin, connectClient, eventually, startService, startStand, writeCertificate } from './router-stand.ts'

interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
}

/** A receiver of OTLP/HTTP that keeps the spans it was sent. */
async function startReceiver(t: TestContext): Promise<{ readonly port: number; readonly spans: OtlpSpan[] }> {
  const spans: OtlpSpan[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    request.on('end', () => {
      assert.equal(request.url, '/v1/traces')
      assert.equal(request.headers['authorization'], 'Bearer of-the-test')
      const document = JSON.parse(text) as { resourceSpans: { scopeSpans: { spans: OtlpSpan[] }[] }[] }
      for (const resource of document.resourceSpans) for (const scope of resource.scopeSpans) spans.push(...scope.spans)
      response.end('{}')
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, spans }
}

function serviceToml(name: string, prefix: string, port: number): string {
  return `[[service]]\nname = "${name}"\nprefix = "${prefix}"\nurl = "http://127.0.0.1:${port}"\n`
}

test('a router that serves is looked at, reloaded, rotated and given a new certificate, and nothing that runs is touched', async (t) => {
  const service = await startService(t, 'old')
  const other = await startService(t, 'new')
  const receiver = await startReceiver(t)
  const tables = `[access_log]\nfile = "access.log"\n[traces]\nendpoint = "http://127.0.0.1:${receiver.port}"\nsample_ratio = 0\nheaders = { authorization = "Bearer of-the-test" }\n`
  const before = `${tables}${serviceToml('api', '/', service.port)}`
  const stand = await startStand(t, before)
  const log = join(stand.directory, 'access.log')
  const api = async (path: string): Promise<unknown> => JSON.parse((await askAdmin(`${stand.admin}${path}`))[1])
  const client = await connectClient(t, stand.port, stand.certificate.certificatePem)

  await t.test('each request is one line of JSON in the access log, and counted in /metrics', async () => {
    assert.deepEqual(await client.get('/hello?x=1', { 'user-agent': 'test/1' }), [200, 'old /hello?x=1'])
    const line = await eventually(
      'a line in the access log',
      () => readFileSync(log, 'utf8').split('\n')[0] || undefined,
    )
    const {
      method,
      path,
      status,
      protocol,
      service: name,
      user_agent,
      client: address,
    } = JSON.parse(line) as Record<string, unknown>
    assert.deepEqual(
      [method, path, status, protocol, name, user_agent, address],
      ['GET', '/hello?x=1', 200, 'h3', 'api', 'test/1', '127.0.0.1'],
    )
    const [status200, text] = await askAdmin(`${stand.admin}/metrics`)
    assert.equal(status200, 200)
    assert.match(text, /^quicether_http_requests_total\{service="api",code="2xx"\} 1$/mu)
    assert.match(text, /^quicether_http_request_duration_seconds_bucket\{service="api",le="\+Inf"\} 1$/mu)
    assert.match(text, /^quicether_connections_open\{protocol="h3"\} 1$/mu)
    assert.match(text, /^quicether_certificate_expiry_timestamp_seconds \d+/mu)
  })

  await t.test('state, paths and configuration are shown without secrets', async () => {
    const connections = (await api('/api/connections')) as { paths: { state: string; smoothedRttMs: number }[] }[]
    assert.equal(connections.length, 1)
    assert.equal(connections[0]?.paths[0]?.state, 'active')
    const config = JSON.stringify(await api('/api/config'))
    assert.match(config, /"name":"api"/u)
    assert.doesNotMatch(config, /of-the-test/u)
    assert.equal((await askAdmin(`${stand.admin}/readyz`))[0], 200)
  })

  await t.test('web pages from elsewhere and names that only point here have no access', async () => {
    const foreign = { origin: 'https://evil.example' }
    assert.equal((await askAdmin(`${stand.admin}/api/drain`, { method: 'POST', headers: foreign }))[0], 403)
    assert.equal((await askAdmin(`${stand.admin}/api/status`, { headers: { host: 'evil.example:80' } }))[0], 403)
    assert.equal((await askAdmin(`${stand.admin}/api/drain`))[0], 405)
    assert.equal((await askAdmin(`${stand.admin}/api/nothing`))[0], 404)
  })

  await t.test(
    'a trace goes on through the router: the service is its child, and both spans are exported',
    async () => {
      const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
      await client.get('/traced', { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, tracestate: 'a=1' })
      const [, seenTrace, seenSpan, flags] = service.seen.get('/traced')?.['traceparent']?.toString().split('-') ?? []
      assert.deepEqual([seenTrace, flags, service.seen.get('/traced')?.['tracestate']], [traceId, '01', 'a=1'])
      const spans = await eventually('two spans', () => (receiver.spans.length >= 2 ? receiver.spans : undefined))
      const outer = spans.find(({ kind }) => kind === 2)
      const inner = spans.find(({ kind }) => kind === 3)
      assert.deepEqual([outer?.traceId, outer?.parentSpanId, outer?.name], [traceId, '00f067aa0ba902b7', 'GET api'])
      assert.deepEqual([inner?.parentSpanId, inner?.spanId], [outer?.spanId, seenSpan])
      assert.ok(BigInt(outer?.startTimeUnixNano ?? 0) <= BigInt(inner?.startTimeUnixNano ?? 0))
    },
  )

  await t.test(
    'a reload changes routes at once, while an answer of before goes on over the same connection',
    async () => {
      const running = await client.open('/held/reload')
      stand.configure(`${before}${serviceToml('extra', '/extra', other.port)}`)
      const dry = JSON.parse((await askAdmin(`${stand.admin}/api/reload?dry-run=1`, { method: 'POST' }))[1])
      assert.deepEqual([dry.isApplied, dry.error], [false, null])
      assert.ok(dry.changes.some(({ key }: { key: string }) => key === 'service.extra.url'))
      assert.equal((await client.get('/extra/a'))[1], 'old /extra/a')
      stand.router.signal('SIGHUP')
      await stand.router.output(/\+ service\.extra\.prefix = "\/extra"/u)
      assert.equal((await client.get('/extra/b'))[1], 'new /extra/b')
      assert.match((await askAdmin(`${stand.admin}/metrics`))[1], /^quicether_config_retired 1$/mu)
      service.release('/held/reload')
      assert.equal(await running.body.text(), 'first last')
      await eventually('the old configuration is let go', async () =>
        /^quicether_config_retired 0$/mu.test((await askAdmin(`${stand.admin}/metrics`))[1]) ? true : undefined,
      )
      assert.equal(client.connection.isClosed, false)
    },
  )

  await t.test('a file with a mistake changes nothing and is named with its line and what was expected', async () => {
    stand.configure(`${before}[[service]]\nname = "bad"\nprefix = "bad"\nurl = "http://127.0.0.1:1"\n`)
    stand.router.signal('SIGHUP')
    await stand.router.output(
      /the reload failed, the old configuration stays: .*prefix.* is "bad" \(router\.toml:\d+\)\. Expected/u,
    )
    assert.equal((await client.get('/extra/c'))[1], 'new /extra/c')
    const [status, text] = await askAdmin(`${stand.admin}/api/reload`, { method: 'POST' })
    assert.equal(status, 422)
    assert.match(text, /router\.toml:\d+/u)
  })

  await t.test('a new certificate serves new connections; the old connection and its stream go on', async () => {
    const running = await client.open('/held/certificate')
    stand.configure(before)
    const fresh = writeCertificate(stand.directory, 'second.test')
    stand.router.signal('SIGHUP')
    await stand.router.output(/~ certificate: .*first\.test.* -> .*second\.test/u)
    const later = await connectClient(t, stand.port, fresh.certificatePem)
    assert.deepEqual(await later.get('/after'), [200, 'old /after'])
    service.release('/held/certificate')
    assert.equal(await running.body.text(), 'first last')
    assert.equal((await client.get('/again'))[1], 'old /again')
  })

  await t.test('a certificate whose key is another one is refused, and the one before stays', async () => {
    writeCertificate(stand.directory, 'third.test')
    const key = readFileSync(join(stand.directory, 'key.pem'))
    writeCertificate(stand.directory, 'fourth.test')
    writeFileSync(join(stand.directory, 'key.pem'), key)
    stand.router.signal('SIGHUP')
    await stand.router.output(/old configuration stays: the private key does not belong to the certificate/u)
    assert.equal((await client.get('/still'))[1], 'old /still')
  })

  await t.test('after a rotation the log goes on in a new file, and no line is lost', async () => {
    renameSync(log, `${log}.1`)
    stand.router.signal('SIGUSR2')
    await eventually('the log is opened again', async () => {
      await client.get('/rotated')
      return readNow(log).includes('/rotated') ? true : undefined
    })
    const paths = `${readNow(`${log}.1`)}${readNow(log)}`
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { path: string }).path)
    for (const path of ['/hello?x=1', '/traced', '/extra/b', '/held/reload', '/after', '/still'])
      assert.ok(paths.includes(path), `${path} is not in the log`)
  })

  await t.test('a connection is closed on demand', async () => {
    const connections = (await api('/api/connections')) as { id: number }[]
    const oldest = Math.min(...connections.map(({ id }) => id))
    assert.equal((await askAdmin(`${stand.admin}/api/connections/${oldest}/close`, { method: 'POST' }))[0], 202)
    const reason = await client.connection.closed
    assert.equal(reason.kind, 'application')
    assert.equal((await askAdmin(`${stand.admin}/api/connections/999999/close`, { method: 'POST' }))[0], 404)
  })

  stand.router.signal('SIGTERM')
  const { code, stderr } = await stand.router.exit()
  assert.equal(code, 0, stderr)
})

function readNow(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
