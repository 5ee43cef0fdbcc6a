/** A headless Chromium driven over its debugging protocol: just what the tests of our pages need. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

/** Names under which distributions install it, the first one is Debian's. */
export const chromiumNames = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'] as const

const startMs = 120_000
const waitMs = 120_000
const pollMs = 100

/** The program, or undefined where none is installed. */
export function findChromium(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  for (const name of chromiumNames)
    for (const folder of folders) if (existsSync(join(folder, name))) return join(folder, name)
  return undefined
}

interface Reply {
  readonly id?: number
  readonly method?: string
  readonly params?: Record<string, unknown>
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

interface Waiting {
  resolve(result: Record<string, unknown>): void
  reject(error: Error): void
}

/** Starts a browser with a profile of its own; the test's end ends it. `args` are further switches. */
export async function startChromium(t: TestContext, args: readonly string[] = []): Promise<Page> {
  const program = findChromium()
  assert.ok(program !== undefined, 'chromium is not installed: apt-get install -y chromium')
  const profile = mkdtempSync(join(tmpdir(), 'quicether-chromium-'))
  const child = spawn(
    program,
    [
      '--headless=new',
      '--remote-debugging-port=0',
      `--user-data-dir=${profile}`,
      '--no-first-run',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-dev-shm-usage',
      '--hide-scrollbars',
      '--window-size=1320,1500',
      // Its sandbox starts neither as root nor in most containers; it shows nothing but pages of ours.
      '--no-sandbox',
      ...args,
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const browserUrl = new URL(await debuggingUrl(child))
  const targets = (await (await fetch(`http://${browserUrl.host}/json/list`)).json()) as {
    readonly type: string
    readonly webSocketDebuggerUrl: string
  }[]
  const target = targets.find(({ type }) => type === 'page')
  assert.ok(target !== undefined, 'the browser has no page')
  const page = new Page(new WebSocket(target.webSocketDebuggerUrl))
  await page.open()
  return page
}

function debuggingUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => reject(new Error(`the browser does not start:\n${text}`)), startMs)
    const done = (): void => clearTimeout(timer)
    child.once('exit', (code) => {
      done()
      reject(new Error(`the browser ended with ${code}:\n${text}`))
    })
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const match = /DevTools listening on (ws:\S+)/u.exec(text)
      if (match?.[1] === undefined) return
      done()
      resolve(match[1])
    })
  })
}

/** The one page of a browser. */
export class Page {
  /** What the page complained about: exceptions, errors on the console, violations of its content security policy. */
  readonly complaints: string[] = []
  /** Addresses of everything it asked for. */
  readonly requests: string[] = []
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, Waiting>()
  #nextId = 1

  constructor(socket: WebSocket) {
    this.#socket = socket
  }

  async open(): Promise<void> {
    this.#socket.addEventListener('message', (event) => this.#onMessage(JSON.parse(String(event.data)) as Reply))
    await new Promise<void>((resolve, reject) => {
      this.#socket.addEventListener('open', () => resolve())
      this.#socket.addEventListener('error', () => reject(new Error('the browser cannot be reached')))
    })
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.send(`${domain}.enable`)
  }

  /** One command of the protocol. */
  send(method: string, params: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#socket.send(JSON.stringify({ id, method, params }))
    })
  }

  async goTo(url: string): Promise<void> {
    await this.send('Page.navigate', { url })
  }

  /** The value of an expression in the page; promises are awaited. */
  async evaluate(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    })
    if (exceptionDetails !== undefined)
      throw new Error(`in the page: ${JSON.stringify(exceptionDetails).slice(0, 500)} (${expression})`)
    return (result as { value?: unknown }).value
  }

  /** Waits until an expression is true-ish and returns its value. */
  async until(expression: string): Promise<unknown> {
    const deadline = performance.now() + waitMs
    while (performance.now() < deadline) {
      const value = await this.evaluate(expression)
      if (value !== undefined && value !== null && value !== false && value !== '') return value
      await sleep(pollMs)
    }
    const text = await this.evaluate('document.body.innerText')
    return assert.fail(`the page never showed: ${expression}\n${this.complaints.join('\n')}\n${String(text)}`)
  }

  /** Presses and releases a key, e.g. `Tab`, `Enter` or `Escape`. */
  async press(key: 'Tab' | 'Enter' | 'Escape'): Promise<void> {
    const code = { Tab: 9, Enter: 13, Escape: 27 }[key]
    const common = { key, code: key, windowsVirtualKeyCode: code }
    await this.send('Input.dispatchKeyEvent', {
      type: 'keyDown',
      ...common,
      ...(key === 'Enter' ? { text: '\r' } : {}),
    })
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...common })
  }

  /** What the operating system's setting would say. */
  async prefer(scheme: 'light' | 'dark'): Promise<void> {
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] })
  }

  /** A picture of the whole page as PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
    return Buffer.from(String(data), 'base64')
  }

  #onMessage(reply: Reply): void {
    if (reply.id !== undefined) {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (reply.error === undefined) waiting?.resolve(reply.result ?? {})
      else waiting?.reject(new Error(reply.error.message))
      return
    }
    const { params = {} } = reply
    if (reply.method === 'Runtime.exceptionThrown') this.complaints.push(JSON.stringify(params['exceptionDetails']))
    if (reply.method === 'Runtime.consoleAPICalled' && params['type'] === 'error')
      this.complaints.push(JSON.stringify(params['args']))
    const entry = params['entry'] as { level?: string; text?: string } | undefined
    if (reply.method === 'Log.entryAdded' && entry?.level === 'error') this.complaints.push(String(entry.text))
    const request = params['request'] as { url?: string } | undefined
    if (reply.method === 'Network.requestWillBeSent') this.requests.push(String(request?.url))
  }
}
