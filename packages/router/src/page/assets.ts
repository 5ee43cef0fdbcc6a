/** The files of the live page: our own modules with their types taken out, Preact and uPlot from their packages. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createRequire, stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'

interface Asset {
  readonly type: string
  readonly body: Buffer
  readonly etag: string
}

const folder = join(import.meta.dirname, 'browser')
/** Entry first; the others are what it imports. */
const modules = ['app.ts', 'charts.ts', 'feed.ts', 'format.ts', 'series.ts', 'tables.ts'] as const
const javascript = 'text/javascript; charset=utf-8'
const importMap = JSON.stringify({
  imports: {
    preact: '/vendor/preact.mjs',
    'preact/hooks': '/vendor/hooks.mjs',
    uplot: '/vendor/uplot.mjs',
  },
})
const importMapHash = createHash('sha256').update(importMap).digest('base64')
/** Nothing from elsewhere runs or loads: the page works without a network and cannot be injected into. */
const contentSecurityPolicy = [
  "default-src 'none'",
  `script-src 'self' 'sha256-${importMapHash}'`,
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Read once, kept in memory. Throws when an installed package lacks its file. */
export class PageAssets {
  readonly #assets = new Map<string, Asset>()

  constructor() {
    const require = createRequire(import.meta.url)
    const vendor = (specifier: string, file: string): Buffer =>
      readFileSync(join(packageFolder(require.resolve(specifier)), file))
    this.#add('/', 'text/html; charset=utf-8', indexDocument())
    this.#add('/page/style.css', 'text/css; charset=utf-8', readFileSync(join(folder, 'style.css')))
    for (const name of modules) {
      const text = moduleText(name)
      // Published modules import each other as .js, those of a checkout as .ts.
      for (const path of [name, name.replace(/\.ts$/u, '.js')]) this.#add(`/page/${path}`, javascript, text)
    }
    this.#add('/vendor/preact.mjs', javascript, vendor('preact', 'dist/preact.mjs'))
    this.#add('/vendor/hooks.mjs', javascript, vendor('preact', 'hooks/dist/hooks.mjs'))
    this.#add('/vendor/uplot.mjs', javascript, vendor('uplot', 'dist/uPlot.esm.js'))
    this.#add('/vendor/uplot.css', 'text/css; charset=utf-8', vendor('uplot', 'dist/uPlot.min.css'))
  }

  /** False = it is not a file of the page. */
  serve(request: IncomingMessage, response: ServerResponse, path: string): boolean {
    const asset = this.#assets.get(path)
    if (asset === undefined || (request.method !== 'GET' && request.method !== 'HEAD')) return false
    const isKnown = request.headers['if-none-match'] === asset.etag
    response.writeHead(isKnown ? 304 : 200, {
      'content-type': asset.type,
      etag: asset.etag,
      'cache-control': 'no-cache',
      'content-security-policy': contentSecurityPolicy,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      ...(isKnown ? {} : { 'content-length': asset.body.byteLength }),
    })
    response.end(isKnown || request.method === 'HEAD' ? undefined : asset.body)
    return true
  }

  #add(path: string, type: string, content: Buffer | string): void {
    const body = Buffer.from(content)
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
    this.#assets.set(path, { type, body, etag })
  }
}

/** In a checkout the sources; in the published package, where the types are gone already, the modules beside. */
function moduleText(name: string): string {
  const source = join(folder, name)
  if (existsSync(source)) return withoutTypes(readFileSync(source, 'utf8'))
  return readFileSync(source.replace(/\.ts$/u, '.js'), 'utf8')
}

/** Node still calls the function experimental; that is ours to know, not the operator's to read. */
function withoutTypes(text: string): string {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return stripTypeScriptTypes(text)
  } finally {
    process.emitWarning = emitWarning
  }
}

function packageFolder(entry: string): string {
  let directory = dirname(entry)
  while (!existsSync(join(directory, 'package.json')) && directory !== dirname(directory))
    directory = dirname(directory)
  return directory
}

function indexDocument(): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>QuicEther router</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 5h9M8 2l3 3-3 3M14 11H5m3-3-3 3 3 3' fill='none' stroke='%232a78d6' stroke-width='1.6'/%3E%3C/svg%3E">
<link rel="stylesheet" href="/vendor/uplot.css">
<link rel="stylesheet" href="/page/style.css">
<script type="importmap">${importMap}</script>
</head>
<body>
<div id="app"><p class="loading">Waiting for the router&hellip;</p></div>
<noscript>This page needs JavaScript. The same figures are at /api/status, /api/connections and /metrics.</noscript>
<script type="module" src="/page/app.ts"></script>
</body>
</html>
`
}
