/** What a multipath case is: a name, what it proves, and a run that rejects with what is wrong. */
import type { Certificates } from './noq-peer.ts'

export interface CaseContext {
  readonly files: Certificates
  /** Log of the stranger. */
  readonly logFile: string
}

export interface MultipathCase {
  readonly name: string
  /** `client → server` */
  readonly pair: string
  readonly proves: string
  /** Resolves with what was measured, in a few words. */
  readonly run: (context: CaseContext) => Promise<string>
}
