/** What the kernel says about a process: processor time and memory. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
const [UTIME, STIME] = [11, 12] as const

/** User and system time of all threads so far. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name in parentheses may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[UTIME]) + Number(fields[STIME])) / TICKS_PER_SECOND
}

/** Resident memory that is its own: pages of files, such as programs and libraries, do not count. */
export function privateBytes(pid: number): number {
  const anonymous = /^Anonymous:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))
  if (anonymous === null) throw new Error(`/proc/${pid}/smaps_rollup names no anonymous memory`)
  return Number(anonymous[1]) * 1024
}
