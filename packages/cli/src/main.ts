/** The `quicether` command line. */
import { leaveParent } from './parent-link.ts'
import { run } from './run.ts'

process.exitCode = await run(process.argv.slice(2))
leaveParent()
