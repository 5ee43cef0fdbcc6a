/** `quicether router --check`: what a configuration means, and how it differs from the router that runs. */
import { get } from 'node:http'
import { changeLine, codeOf, diffConfig, messageOf, parseListenPlace, type RouterConfig } from '@quicether/router'

const timeoutMs = 3_000
const answerBytesMax = 16 * 1024 * 1024

/** The configuration has been read and found right; `file` is its name. */
export async function checkReport(file: string, config: RouterConfig): Promise<string> {
  const count = config.service.length
  const lines = [`${file}: right, ${count} ${count === 1 ? 'service' : 'services'}`]
  const { listen } = config.admin
  if (listen === undefined) return `${lines[0]}\n`
  try {
    const running = JSON.parse(await adminGet(listen, '/api/config')) as RouterConfig
    // Secrets are not told by the router that runs.
    const changes = diffConfig(running, config).filter(({ key }) => !key.startsWith('traces.headers.'))
    if (changes.length === 0) lines.push(`the router at ${listen} runs with exactly this`)
    else lines.push(`against the router at ${listen}:`, ...changes.map((change) => `  ${changeLine(change)}`))
  } catch (error) {
    const isDown = ['ECONNREFUSED', 'ENOENT'].includes(codeOf(error))
    lines.push(isDown ? `no router runs at ${listen}` : `the router at ${listen} cannot be asked: ${messageOf(error)}`)
  }
  return `${lines.join('\n')}\n`
}

/** One GET to an admin endpoint. Rejects when it does not answer 200 in time. */
function adminGet(listen: string, path: string): Promise<string> {
  const place = parseListenPlace(listen)
  if (place === undefined) return Promise.reject(new Error('it is no address with a port'))
  const where = place.kind === 'unix' ? { socketPath: place.path } : { host: place.host, port: place.port }
  return new Promise((resolve, reject) => {
    const request = get({ ...where, path, timeout: timeoutMs }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > answerBytesMax) request.destroy(new Error('its answer is too long'))
      })
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text)
        else reject(new Error(`it answered ${response.statusCode}`))
      })
    })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    request.on('error', reject)
  })
}
