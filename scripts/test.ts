/** `npm test`: all of check, then processes, fuzz corpora, a capture opened by tshark and interop. */
import process from 'node:process'
import { runSteps } from './runner.ts'
import { steps } from './steps.ts'

process.exitCode = await runSteps(steps, process.argv.slice(2))
