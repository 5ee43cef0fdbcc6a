/** Runs one command line and turns every failure into one line and an exit code. */
import { CommanderError } from 'commander'
import { explain, explainUsage } from './explain.ts'
import { translateForkFlags } from './files/fork-flags.ts'
import { createProgram } from './program.ts'

/** Exit codes: 0 done, 1 failed, 2 wrong use, 70 a bug of ours. */
export async function run(args: readonly string[]): Promise<number> {
  // Output into a closed pipe (`quicether report | head`) is not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
  })
  const program = createProgram()
  try {
    await program.parseAsync([...translateForkFlags(args)], { from: 'user' })
    return typeof process.exitCode === 'number' ? process.exitCode : 0
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0
      // Without a command the help itself is the message.
      if (error.code === 'commander.help') return 2
      process.stderr.write(`${explainUsage(error, args)}\n`)
      return 2
    }
    const { line, exitCode } = explain(error)
    process.stderr.write(`${line}\n`)
    return exitCode
  }
}
