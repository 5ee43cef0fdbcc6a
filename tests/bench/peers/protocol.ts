/** What the benchmark tells its peers on the command line, and what they answer as JSON lines. */

/** One measured piece of work of a client. `units` of a result are bytes, or requests for `requests`. */
export type Work =
  | { readonly kind: 'download'; readonly bytes: number }
  | { readonly kind: 'upload'; readonly bytes: number }
  | { readonly kind: 'requests'; readonly concurrency: number; readonly seconds: number }
  | { readonly kind: 'raw'; readonly seconds: number }

export interface ServerSpec {
  readonly role: 'server'
  /** PEM files. */
  readonly certificate: string
  readonly privateKey: string
}

export interface ClientSpec {
  readonly role: 'client'
  readonly port: number
  /** PEM file of the authority. */
  readonly ca: string
  readonly work: Work
}

export function specification(): ServerSpec | ClientSpec {
  const text = process.argv[2]
  if (text === undefined) throw new Error('usage: one argument, the specification as JSON; "npm run bench" gives it')
  return JSON.parse(text) as ServerSpec | ClientSpec
}

/** One fact for the runner. */
export function report(event: string, facts: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`)
}
