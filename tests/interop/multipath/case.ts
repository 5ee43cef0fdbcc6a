/** What a multipath case is: a name, what it proves, and a run that rejects with what is wrong. */
import type { Certificates } from './noq-peer.ts'
import type { QlogFrames } from './qlog-frames.ts'

export interface CaseContext {
  readonly files: Certificates
  /** Log of the stranger. */
  readonly logFile: string
  /** Folders, empty at the start, for one qlog file of each side. */
  readonly qlogs: { readonly ours: string; readonly theirs: string }
  /** Takes what both sides logged, as evidence. */
  readonly onLogs: (logs: { readonly ours: QlogFrames; readonly theirs: QlogFrames }) => void
}

export interface MultipathCase {
  readonly name: string
  /** `client → server` */
  readonly pair: string
  readonly proves: string
  /** Resolves with what was measured, in a few words. */
  readonly run: (context: CaseContext) => Promise<string>
}
