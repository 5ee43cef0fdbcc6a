/** Errors in the user's words: what, where, remedy; a stack trace only when asked for. */
import { codeOf, messageOf, UserError } from '@quicether/router'
import type { CommanderError } from 'commander'

export interface Explanation {
  readonly line: string
  readonly exitCode: number
}

/** Remedies for errors of the layers below, by their stable code. */
const remedies: Readonly<Record<string, string>> = {
  ERR_PORT_IN_USE: 'Stop what uses that UDP port, or choose another one with --port.',
  EACCES: 'Choose a place that this user may use.',
  ENOSPC: 'Free some space on that disk.',
  MODULE_NOT_FOUND: 'Run `npm run bootstrap` in the checkout to build the native part.',
  ERR_MODULE_NOT_FOUND: 'Run `npm run bootstrap` in the checkout.',
  ERR_DLOPEN_FAILED: 'The native part does not fit this machine: run `npm run bootstrap` in the checkout.',
}

/** The line printed for a failure, and the exit code. */
export function explain(error: unknown): Explanation {
  if (error instanceof UserError)
    return { line: `quicether: ${error.message}`, exitCode: error.code === 'ERR_OPTION' ? 2 : 1 }
  const code = codeOf(error)
  const message = oneLine(messageOf(error))
  if (code.startsWith('ERR_') || /^E[A-Z]+$/u.test(code) || code === 'MODULE_NOT_FOUND') {
    const remedy = remedies[code]
    return {
      line: `quicether: ${message}${remedy === undefined ? '' : `${message.endsWith('.') ? '' : '.'} ${remedy}`}`,
      exitCode: 1,
    }
  }
  const where = error instanceof Error ? firstFrame(error) : 'unknown place'
  const detail = process.env['QUICETHER_DEBUG'] === undefined || !(error instanceof Error) ? '' : `\n${error.stack}`
  return {
    line: `quicether: internal error: ${message} (${where}). This is a bug; run again with QUICETHER_DEBUG=1 and report what it prints.${detail}`,
    exitCode: 70,
  }
}

/** The line printed for a command line that does not parse. */
export function explainUsage(error: CommanderError, args: readonly string[]): string {
  const [first = '', hint = ''] = error.message.replace(/^error: /u, '').split('\n')
  const command =
    args[0] !== undefined && /^[a-z]+$/u.test(args[0]) && error.code !== 'commander.unknownCommand'
      ? `quicether ${args[0]}`
      : 'quicether'
  const suggestion = hint.replace(/^\((.*)\)$/u, '$1 ')
  return `quicether: ${first.replace(/\.$/u, '')} (${command}). ${suggestion}See \`${command} --help\`.`
}

function oneLine(text: string): string {
  return text.split('\n')[0] ?? ''
}

function firstFrame(error: Error): string {
  const frame = (error.stack ?? '').split('\n').find((line) => line.trimStart().startsWith('at '))
  return (
    frame
      ?.trim()
      .replace(/^at /u, '')
      .replace(/file:\/\/\S*\/packages\//u, 'packages/') ?? 'unknown place'
  )
}
