/**
 * Makes an index of requirements from the text of an RFC (plain text or the kramdown source of the working group):
 * `node scripts/spec-index.ts NUMBER TITLE FILE > specs/rfcNUMBER.json`. The texts stay outside the repository.
 */
import { readFileSync } from 'node:fs'
import process from 'node:process'
import type { Requirement, Section, SpecIndex } from './spec-model.ts'

const keyword = /\b(MUST NOT|MUST|SHALL NOT|SHALL|REQUIRED|SHOULD NOT|SHOULD|NOT RECOMMENDED|RECOMMENDED)\b/g
const wordsBefore = 4
const wordsAfter = 5

interface Chapter {
  readonly section: Section
  text: string
}

/** Index of a whole document; kramdown sources start with a YAML head. */
export function indexOf(rfc: number, title: string, text: string): SpecIndex {
  const chapters = text.startsWith('---') ? readKramdown(text) : readPlain(text)
  const requirements: Requirement[] = []
  for (const { section, text: body } of chapters) {
    let n = 0
    for (const { level, locator } of requirementsIn(body)) {
      n += 1
      requirements.push({ section: section.number, n, level, locator })
    }
  }
  return { rfc, title, sections: chapters.map(({ section }) => section), requirements }
}

function* requirementsIn(text: string): Generator<{ level: string; locator: string }> {
  const body = text.replace(/\s+/g, ' ')
  for (const match of body.matchAll(keyword)) {
    // The paragraph that explains the key words quotes them and requires nothing.
    if (/["“]$/.test(body.slice(0, match.index)) || body.slice(0, match.index).endsWith(' key word ')) continue
    const before = body.slice(0, match.index).split(' ').filter(Boolean).slice(-wordsBefore)
    const after = body
      .slice(match.index + match[0].length)
      .split(' ')
      .filter(Boolean)
      .slice(0, wordsAfter)
    yield { level: match[0], locator: [...before, match[0], ...after].join(' ') }
  }
}

function readPlain(text: string): Chapter[] {
  const chapters: Chapter[] = []
  const heading = /^(?:Appendix )?((?:\d+|[A-Z])(?:\.\d+)*)\.\s{1,3}(\S.*)$/
  for (const line of withoutPageBreaks(text)) {
    const match = heading.exec(line)
    if (match !== null && isNext(chapters.at(-1)?.section.number, match[1] ?? '')) {
      chapters.push({ section: { number: match[1] ?? '', title: match[2] ?? '' }, text: '' })
      continue
    }
    if (/^(Authors' Addresses|Acknowledg|Contributors|Index)/.test(line))
      chapters.push({ section: { number: '', title: line }, text: '' })
    const last = chapters.at(-1)
    if (last !== undefined) last.text += `${line}\n`
  }
  return chapters.filter(({ section }) => section.number !== '')
}

/** Headings count upwards; a numbered list or the table of contents (indented) does not look like the next heading. */
function isNext(previous: string | undefined, number: string): boolean {
  if (previous === undefined) return number === '1'
  const a = previous.split('.')
  const b = number.split('.')
  if (/^[A-Z]$/.test(b[0] ?? '') && /^\d/.test(a[0] ?? '')) return number === 'A'
  if (b.length === a.length + 1) return b.at(-1) === '1' && b.slice(0, -1).join('.') === previous
  if (b.length > a.length) return false
  const depth = b.length - 1
  return b.slice(0, depth).join('.') === a.slice(0, depth).join('.') && successor(a[depth] ?? '') === b[depth]
}

function successor(part: string): string {
  return /^\d+$/.test(part) ? String(Number(part) + 1) : String.fromCharCode(part.charCodeAt(0) + 1)
}

function withoutPageBreaks(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => !/\[Page \d+\]$/.test(line) && !/^RFC \d+ .* \d{4}$/.test(line) && !line.includes('\f'))
}

function readKramdown(text: string): Chapter[] {
  const chapters: Chapter[] = []
  const counters: number[] = []
  let part: 'head' | 'middle' | 'back' = 'head'
  let isFenced = false
  let isUnnumbered = false
  for (const line of text.split('\n')) {
    if (/^--- (middle|back)/.test(line)) {
      part = line.includes('back') ? 'back' : 'middle'
      counters.length = 0
      continue
    }
    if (part === 'head') continue
    if (/^(~~~|```)/.test(line)) {
      isFenced = !isFenced
      continue
    }
    const match = isFenced ? null : /^(#+)\s+(.*?)\s*(?:\{#?([^}]*)\}\s*)*$/.exec(line)
    if (match === null) {
      if (
        /^\{:\s*(numbered="false"|numbered="no"|\.unnumbered)/.test(line.trim()) &&
        chapters.at(-1)?.text.trim() === ''
      ) {
        // The attribute stands below its heading: take the number back.
        const removed = chapters.pop()
        if (removed !== undefined) counters[removed.section.number.split('.').length - 1]! -= 1
        isUnnumbered = true
      }
      const last = chapters.at(-1)
      if (last !== undefined && !isUnnumbered && !isFenced) last.text += `${plain(line)}\n`
      continue
    }
    isUnnumbered = /numbered="(false|no)"|\.unnumbered/.test(line)
    if (isUnnumbered) continue
    const depth = (match[1] ?? '#').length
    counters.length = depth
    for (let index = 0; index < depth; index += 1) counters[index] ??= 0
    counters[depth - 1] = (counters[depth - 1] ?? 0) + 1
    const numbers = counters.map((count, index) =>
      index === 0 && part === 'back' ? String.fromCharCode(64 + count) : String(count),
    )
    const anchor = /\{#([\w.-]+)/.exec(line)?.[1]
    const title = plain((match[2] ?? '').replace(/\{.*$/, '')).trim()
    chapters.push({
      section: { number: numbers.join('.'), title, ...(anchor === undefined ? {} : { anchor }) },
      text: '',
    })
  }
  return chapters
}

/** Markup away, words stay. */
function plain(line: string): string {
  return line
    .replace(/\{\{[?!]?(?:[^}]*?#)?([^}=]*)[^}]*\}\}/g, '[$1]')
    .replace(/\[([^\]]+)\]\([^)]*\)/g, '$1')
    .replace(/(?<![\w*_`])[*_`]{1,2}([^*`]+?)[*_`]{1,2}(?![\w*_`])/g, '$1')
    .replace(/\{:[^}]*\}/g, '')
}

/** One line per entry, so that a change of the index reads well in a diff. */
export function format(index: SpecIndex): string {
  const rows = (entries: readonly object[]) => entries.map((entry) => `    ${JSON.stringify(entry)}`).join(',\n')
  return `{\n  "rfc": ${index.rfc},\n  "title": ${JSON.stringify(index.title)},\n  "sections": [\n${rows(index.sections)}\n  ],\n  "requirements": [\n${rows(index.requirements)}\n  ]\n}\n`
}

if (import.meta.main) {
  const [rfc, title, file] = process.argv.slice(2)
  if (rfc === undefined || title === undefined || file === undefined) {
    process.stderr.write('usage: node scripts/spec-index.ts NUMBER TITLE FILE > specs/rfcNUMBER.json\n')
    process.exit(2)
  }
  process.stdout.write(format(indexOf(Number(rfc), title, readFileSync(file, 'utf8'))))
}
