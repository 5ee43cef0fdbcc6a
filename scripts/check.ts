/** `npm run check`: types, lint, tidy, citations, unit, property and simulation tests; no root, no peers, about a minute. */
import process from 'node:process'
import { runSteps } from './runner.ts'
import { steps } from './steps.ts'

const chosen = steps.filter((step) => step.isFull !== true)
process.exitCode = await runSteps(chosen, process.argv.slice(2))
