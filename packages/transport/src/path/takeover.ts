/** Notices when a backup path has to take over, and when it may rest again: what the peer is told then (RFC 10069 §3.3). */
import type { Path } from './path.ts'

/**
 * The application's wishes stay what they are; what the peer is told differs from them for a while. Without that a peer
 * that has sent nothing lately would go on using the broken path until its own probe timeout.
 */
export class Takeover {
  isActive = false

  /**
   * Looks at all paths; `onTold` is called for each one about which the peer must hear something new. Called before each
   * train of a connection with several paths: a few comparisons.
   */
  review(paths: readonly Path[], onTold: (path: Path) => void): void {
    if (this.isActive ? !isOver(paths) : !isNeeded(paths)) return
    this.isActive = !this.isActive
    for (const path of paths) {
      if (path.isAbandoned || path.isDormant) continue
      const told = this.isActive ? toldAbout(path) : undefined
      if (path.toldStatus === told) continue
      path.toldStatus = told
      onTold(path)
    }
  }
}

/** Nothing answers but backup paths, and one that is none has fallen silent. */
function isNeeded(paths: readonly Path[]): boolean {
  let hasBroken = false
  let hasReserve = false
  for (const path of paths) {
    if (!path.isUsable()) continue
    if (path.isSuspect()) hasBroken ||= !isReserve(path)
    else if (isReserve(path)) hasReserve = true
    else return false
  }
  return hasBroken && hasReserve
}

/** A path that was silent answers again, or another one that is no backup does. */
function isOver(paths: readonly Path[]): boolean {
  for (const path of paths) {
    if (!path.isUsable() || path.isSuspect() || path.toldStatus === 'available') continue
    if (path.toldStatus === 'backup' || !isReserve(path)) return true
  }
  return false
}

function toldAbout(path: Path): Path['toldStatus'] {
  if (!path.isUsable()) return undefined
  return path.isSuspect() ? 'backup' : 'available'
}

/** Either side wants to keep it in reserve. */
function isReserve(path: Path): boolean {
  return path.status === 'backup' || path.peerStatus === 'backup'
}
