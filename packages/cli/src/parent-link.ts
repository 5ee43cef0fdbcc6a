/** The link of a command to a parent process that started it, such as the demo: ready and report messages, and stop. */

/** What a child tells its parent. */
export type ChildMessage =
  | { readonly kind: 'serve'; readonly port: number }
  | { readonly kind: 'services'; readonly video: number; readonly text: number; readonly control: number }
  | {
      readonly kind: 'router'
      readonly host: string
      readonly port: number
      readonly directory: string
      readonly metrics: string
      readonly report: string
    }

/** Does nothing when no parent listens. */
export function tellParent(message: ChildMessage): void {
  if (process.connected) process.send?.(message)
}

/** What a command does besides stopping; only those of the first call count. */
export interface StopOptions {
  /** SIGHUP; without it the signal stops like the others. */
  readonly onHangup?: () => void
  /** The second signal; without it the process ends at once. The third one always ends it. */
  readonly onSecond?: () => void
}

let stopped: Promise<string> | undefined

/**
 * Resolves when the process shall end: SIGINT, SIGTERM, SIGHUP, a `stop` message, or the end of the parent, with its
 * name. A second signal ends the process at once. Call it first thing in a command and wait for it last: from the call
 * on, no signal ends the process uncleanly. Calls share one promise.
 */
export function untilStopped({ onHangup, onSecond }: StopOptions = {}): Promise<string> {
  stopped ??= new Promise((resolve) => {
    let isStopping = false
    let isSecond = false
    const stop = (why: string): void => {
      if (isStopping) {
        if (onSecond === undefined || isSecond) process.exit(1)
        isSecond = true
        onSecond()
        return
      }
      isStopping = true
      resolve(why)
    }
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop(signal))
    process.on('SIGHUP', () => (onHangup === undefined ? stop('SIGHUP') : onHangup()))
    process.on('message', (message) => {
      if (message === 'stop' && !isStopping) stop('stop')
    })
    process.on('disconnect', () => {
      if (!isStopping) stop('parent ended')
    })
    // A parent that ended before anybody listened.
    if (process.connected === false) stop('parent ended')
  })
  return stopped
}

/** Lets the process end although a parent is linked. */
export function leaveParent(): void {
  if (process.connected) process.disconnect?.()
}
