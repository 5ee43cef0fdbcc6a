/** The demo's control service: JSON commands, one or a batch per request, over a small state. */
import { ControlState } from './control-state.ts'
import { HttpProblem, readText, type RunningService, sendJson, startService } from './service-server.ts'

const bodyBytesMax = 1_048_576
const batchMax = 1_000

/** `POST /control/command` with one command or an array of them, `GET /control/state`, `GET /health`. */
export function startControlService(options: {
  readonly port: number
  readonly host?: string
}): Promise<RunningService> {
  const state = new ControlState()
  return startService({
    ...options,
    name: 'control',
    onClose: () => state.close(),
    handler: async (request, response, url) => {
      const route = `${request.method} ${url.pathname}`
      if (route === 'POST /control/command') {
        const input = parseJson(await readText(request, bodyBytesMax))
        if (!Array.isArray(input)) {
          const result = state.execute(input)
          return sendJson(response, result.ok ? 200 : 422, result)
        }
        if (input.length > batchMax)
          throw new HttpProblem(413, `a batch has at most ${batchMax} commands, this one has ${input.length}`)
        return sendJson(response, 200, { results: input.map((command) => state.execute(command)) })
      }
      if (route === 'GET /control/state') return sendJson(response, 200, state.counts())
      throw new HttpProblem(404, `${route} is not known; try POST /control/command or GET /control/state`)
    },
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new HttpProblem(400, `the body is not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
}
