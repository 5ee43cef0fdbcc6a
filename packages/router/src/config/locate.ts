/** Finds the line of a TOML file that holds a given key, so that an error can name it. */

/** A step into the parsed document: a table or key name, or the index of an array table. */
export type KeyStep = string | number

/**
 * Line (from 1) of the key at `path`, or of the nearest table above it that is written out. 1 when nothing matches.
 * Dotted headers and array tables are followed; keys inside inline tables are found on the line of their table.
 */
export function locateKey(source: string, path: readonly KeyStep[]): number {
  const counts = new Map<string, number>()
  let table: readonly KeyStep[] = []
  let bestLine = 1
  let bestDepth = 0
  for (const [index, line] of source.split('\n').entries()) {
    const header = /^\s*(\[\[?)([^\]]+)\]\]?/u.exec(line)
    if (header !== null) {
      table = enterTable(header[2] ?? '', header[1] === '[[', counts)
      const depth = commonDepth(table, path)
      if (depth === table.length && depth > bestDepth) [bestDepth, bestLine] = [depth, index + 1]
      continue
    }
    const assignment =
      /^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=/u.exec(line)
    if (assignment === null) continue
    const key = [...table, ...splitKey(assignment[1] ?? '')]
    const depth = commonDepth(key, path)
    if (depth === key.length && depth > bestDepth) [bestDepth, bestLine] = [depth, index + 1]
  }
  return bestLine
}

function enterTable(name: string, isArray: boolean, counts: Map<string, number>): readonly KeyStep[] {
  const steps: KeyStep[] = []
  let joined = ''
  const parts = splitKey(name)
  for (const [at, part] of parts.entries()) {
    joined = at === 0 ? part : `${joined}.${part}`
    steps.push(part)
    const count = counts.get(joined)
    // `[service.health]` belongs to the `[[service]]` that was written last.
    if (count !== undefined && !(isArray && at === parts.length - 1)) steps.push(count - 1)
  }
  if (!isArray) return steps
  const index = counts.get(joined) ?? 0
  counts.set(joined, index + 1)
  return [...steps, index]
}

function splitKey(name: string): string[] {
  return (name.match(/"[^"]*"|'[^']*'|[^.\s]+/gu) ?? []).map((part) => part.replace(/^["']|["']$/gu, ''))
}

function commonDepth(a: readonly KeyStep[], b: readonly KeyStep[]): number {
  let depth = 0
  while (depth < a.length && depth < b.length && a[depth] === b[depth]) depth++
  return depth
}
