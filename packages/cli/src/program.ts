/** The commands, their flags and their help. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { addCaptureCommand } from './commands/capture.ts'
import { addCertsCommand } from './commands/certs.ts'
import { addClientCommand } from './commands/client.ts'
import { addDemoCommand } from './commands/demo.ts'
import { addGetCommand } from './commands/get.ts'
import { addReportCommand } from './commands/report.ts'
import { addRouterCommand } from './commands/router.ts'
import { addSchedulersCommand } from './commands/schedulers.ts'
import { addServeCommand } from './commands/serve.ts'
import { addServicesCommand } from './commands/services.ts'
import { examples } from './help.ts'

/** A program that throws `CommanderError` instead of ending the process. */
export function createProgram(): Command {
  const program = new Command('quicether')
    .description('HTTP/3 stream router on a multipath QUIC engine of its own')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .showSuggestionAfterError(true)
    .configureOutput({ outputError: () => {} })
    .exitOverride()
    .addHelpText(
      'after',
      examples([
        'quicether demo',
        'quicether services &',
        'quicether router &',
        'quicether client --count 6',
        'quicether report --last 10',
      ]),
    )
  addRouterCommand(program)
  addServicesCommand(program)
  addClientCommand(program)
  addReportCommand(program)
  addDemoCommand(program)
  addServeCommand(program)
  addGetCommand(program)
  addSchedulersCommand(program)
  addCaptureCommand(program)
  addCertsCommand(program)
  for (const command of program.commands) {
    command
      .configureOutput({ outputError: () => {} })
      .exitOverride()
      .helpOption('-h, --help', 'print this help')
    command.allowExcessArguments(false)
  }
  return program
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const value: unknown =
    typeof manifest === 'object' && manifest !== null ? Reflect.get(manifest, 'version') : undefined
  return typeof value === 'string' ? value : '0.0.0'
}
