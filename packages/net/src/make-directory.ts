/** Directories with their parents; ends also where the platform's recursive call would try for ever (`/proc`). */
import { mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/** An error with the code of the system call that failed. */
class MakeDirectoryError extends Error {
  readonly code: string

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'MakeDirectoryError'
    this.code = code
  }
}

/**
 * Makes `path` and the parents that it lacks; an existing directory is left as it is. `mode` is for the new ones.
 * @throws Error with `code`: `ENOTDIR` when a file is in the way, `ENOENT` where the file system takes no
 * directories, else the code of the system call, e.g. `EACCES`, `EROFS`, `ENOSPC`.
 */
export function makeDirectory(path: string, mode = 0o777): void {
  const missing: string[] = []
  let at = resolve(path)
  while (!isDirectory(at)) {
    missing.push(at)
    at = dirname(at)
  }
  for (const directory of missing.reverse()) makeOne(directory, mode)
}

function isDirectory(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return false
  if (stats.isDirectory()) return true
  throw new MakeDirectoryError('ENOTDIR', `${path} is a file, not a directory (ENOTDIR)`)
}

function makeOne(directory: string, mode: number): void {
  try {
    mkdirSync(directory, mode)
  } catch (error) {
    const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
    // Somebody else made it meanwhile; a link that leads nowhere is there, too, but is no directory.
    if (code === 'EEXIST' && isDirectory(directory)) return
    if (code === 'ENOENT')
      throw new MakeDirectoryError(code, `${dirname(directory)} takes no new directories (ENOENT)`, error)
    throw error
  }
}
