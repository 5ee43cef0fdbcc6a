/** The demo's text service: analyses texts while they arrive and transforms them line by line, both ways streaming. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  HttpProblem,
  queryNumber,
  type RunningService,
  sendJson,
  startService,
  untilDrained,
} from './service-server.ts'
import { TextAnalysis } from './text-analysis.ts'

/** `POST /text/analyze?top=`, `POST /text/transform?mode=upper|lower|reverse|number`, `GET /text/stats`, `GET /health`. */
export function startTextService(options: { readonly port: number; readonly host?: string }): Promise<RunningService> {
  const totals = { analyses: 0, transforms: 0, bytes: 0, words: 0 }
  return startService({
    ...options,
    name: 'text',
    handler: async (request, response, url) => {
      const route = `${request.method} ${url.pathname}`
      if (route === 'POST /text/analyze') {
        const analysis = new TextAnalysis()
        for await (const chunk of request as AsyncIterable<Buffer>) analysis.push(chunk)
        const report = analysis.finish(queryNumber(url, 'top', 10, 1, 1_000))
        totals.analyses++
        totals.bytes += report.bytes
        totals.words += report.words
        return sendJson(response, 200, report)
      }
      if (route === 'POST /text/transform') {
        totals.transforms++
        return await transform(request, response, url)
      }
      if (route === 'GET /text/stats') return sendJson(response, 200, totals)
      throw new HttpProblem(
        404,
        `${route} is not known; try POST /text/analyze, POST /text/transform or GET /text/stats`,
      )
    },
  })
}

const lineCharactersMax = 65_536

const transforms: Readonly<Record<string, (line: string, number: number) => string>> = {
  upper: (line) => line.toUpperCase(),
  lower: (line) => line.toLowerCase(),
  reverse: (line) => [...line].reverse().join(''),
  number: (line, number) => `${number}: ${line}`,
}

async function transform(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const mode = url.searchParams.get('mode') ?? 'upper'
  const apply = Object.hasOwn(transforms, mode) ? transforms[mode] : undefined
  if (apply === undefined)
    throw new HttpProblem(400, `mode=${mode.slice(0, 40)}: expected ${Object.keys(transforms).join(', ')}`)
  const decoder = new TextDecoder()
  let rest = ''
  let lines = 0
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', trailer: 'x-lines' })
  for await (const chunk of request as AsyncIterable<Buffer>) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = pieces.pop() ?? ''
    if (rest.length > lineCharactersMax) {
      pieces.push(rest)
      rest = ''
    }
    const text = pieces.map((line) => `${apply(line, ++lines)}\n`).join('')
    if (text !== '' && !response.write(text)) await untilDrained(response)
    if (response.destroyed) return
  }
  rest += decoder.decode()
  if (rest !== '') response.write(apply(rest, ++lines))
  response.addTrailers({ 'x-lines': String(lines) })
  response.end()
}
