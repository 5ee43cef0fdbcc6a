/** The metrics texts of several workers as one, each sample labelled with its worker. */

/** One worker's text. */
export interface WorkerText {
  readonly worker: number
  readonly text: string
}

interface Family {
  readonly head: string[]
  readonly samples: string[]
}

/** Families stay in the order of their first appearance; their samples stand together, as the format demands. */
export function mergeExpositions(texts: readonly WorkerText[]): string {
  const families = new Map<string, Family>()
  for (const { worker, text } of texts) {
    let family: Family | undefined
    for (const line of text.split('\n')) {
      if (line === '') continue
      const [, name] = /^# (?:HELP|TYPE) (\S+)/u.exec(line) ?? []
      if (name === undefined) {
        family?.samples.push(labelled(line, worker))
        continue
      }
      family = families.get(name) ?? { head: [], samples: [] }
      families.set(name, family)
      if (!family.head.includes(line)) family.head.push(line)
    }
  }
  const lines = [...families.values()].flatMap(({ head, samples }) => [...head, ...samples])
  return `${lines.join('\n')}\n`
}

function labelled(line: string, worker: number): string {
  const at = line.search(/[{ ]/u)
  const [name, rest] = [line.slice(0, at), line.slice(at)]
  return rest.startsWith('{') ? `${name}{worker="${worker}",${rest.slice(1)}` : `${name}{worker="${worker}"}${rest}`
}
