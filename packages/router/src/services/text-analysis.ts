/** Counts, frequent words, a guess at the language and a digest of a text of any length, read as a stream. */
import { createHash } from 'node:crypto'
import { languageSamples } from './language-profiles.ts'

export interface TextReport {
  readonly bytes: number
  readonly characters: number
  readonly lines: number
  readonly words: number
  readonly distinctWords: number
  /** True when there were more distinct words than are kept; counts of words are exact all the same. */
  readonly isVocabularyCut: boolean
  readonly meanWordCharacters: number
  readonly longestWord: string
  readonly topWords: readonly { readonly word: string; readonly count: number }[]
  readonly languages: readonly { readonly language: string; readonly score: number }[]
  readonly sha256: string
}

const vocabularyMax = 50_000
const wordCharactersMax = 200
const trigramsMax = 20_000
const lineFeed = 0x0a
const wordPattern = /[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}\p{N}]+)*/gu

/** Feed it chunks of UTF-8, cut anywhere. Memory is bounded by the vocabulary kept. */
export class TextAnalysis {
  readonly #decoder = new TextDecoder()
  readonly #hash = createHash('sha256')
  readonly #counts = new Map<string, number>()
  readonly #trigrams = new Map<string, number>()
  #bytes = 0
  #characters = 0
  #lineBreaks = 0
  #words = 0
  #wordCharacters = 0
  #longest = ''
  #isCut = false
  #tail = ''
  #endsLine = true

  push(chunk: Uint8Array): void {
    this.#bytes += chunk.length
    this.#hash.update(chunk)
    this.#onText(this.#decoder.decode(chunk, { stream: true }), false)
  }

  finish(topCount = 10): TextReport {
    this.#onText(this.#decoder.decode(), true)
    const top = [...this.#counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, topCount)
    return {
      bytes: this.#bytes,
      characters: this.#characters,
      lines: this.#lineBreaks + (this.#endsLine ? 0 : 1),
      words: this.#words,
      distinctWords: this.#counts.size,
      isVocabularyCut: this.#isCut,
      meanWordCharacters: this.#words === 0 ? 0 : this.#wordCharacters / this.#words,
      longestWord: this.#longest,
      topWords: top.map(([word, count]) => ({ word, count })),
      languages: guessLanguage(this.#trigrams),
      sha256: this.#hash.digest('hex'),
    }
  }

  /** The last word of a piece may go on in the next one, so it waits in `tail`. */
  #onText(text: string, isLast: boolean): void {
    for (let at = 0; at < text.length; at++) {
      const unit = text.charCodeAt(at)
      // The second half of a surrogate pair is no character of its own.
      if (unit < 0xdc00 || unit > 0xdfff) this.#characters++
      if (unit === lineFeed) this.#lineBreaks++
    }
    if (text.length > 0) this.#endsLine = text.charCodeAt(text.length - 1) === lineFeed
    const all = this.#tail + text
    const keepFrom = isLast ? all.length : Math.max(all.length - wordCharactersMax, lastBreak(all))
    for (const match of all.slice(0, keepFrom).matchAll(wordPattern)) this.#onWord(match[0])
    this.#tail = all.slice(keepFrom)
  }

  #onWord(raw: string): void {
    const word = raw.slice(0, wordCharactersMax).toLowerCase()
    this.#words++
    this.#wordCharacters += raw.length
    if (raw.length > this.#longest.length) this.#longest = raw
    const count = this.#counts.get(word)
    if (count !== undefined) this.#counts.set(word, count + 1)
    else if (this.#counts.size < vocabularyMax) this.#counts.set(word, 1)
    else this.#isCut = true
    addTrigrams(this.#trigrams, word)
  }
}

/** Languages by cosine similarity of trigram counts, most likely first; scores from 0 to 1. */
export function guessLanguage(trigrams: ReadonlyMap<string, number>): { language: string; score: number }[] {
  const scores = Object.entries(profiles()).map(([language, profile]) => ({
    language,
    score: cosine(trigrams, profile),
  }))
  return scores.sort((a, b) => b.score - a.score).slice(0, 3)
}

let cachedProfiles: Record<string, Map<string, number>> | undefined

function profiles(): Record<string, Map<string, number>> {
  if (cachedProfiles !== undefined) return cachedProfiles
  cachedProfiles = {}
  for (const [language, sample] of Object.entries(languageSamples)) {
    const profile = new Map<string, number>()
    for (const match of sample.matchAll(wordPattern)) addTrigrams(profile, match[0].toLowerCase())
    cachedProfiles[language] = profile
  }
  return cachedProfiles
}

function addTrigrams(counts: Map<string, number>, word: string): void {
  const padded = ` ${word} `
  for (let at = 0; at + 3 <= padded.length; at++) {
    const trigram = padded.slice(at, at + 3)
    const count = counts.get(trigram)
    if (count !== undefined) counts.set(trigram, count + 1)
    else if (counts.size < trigramsMax) counts.set(trigram, 1)
  }
}

function cosine(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): number {
  let dot = 0
  for (const [trigram, count] of b) dot += count * (a.get(trigram) ?? 0)
  const norm = Math.sqrt(squares(a) * squares(b))
  return norm === 0 ? 0 : Math.round((dot / norm) * 1000) / 1000
}

function squares(counts: ReadonlyMap<string, number>): number {
  let sum = 0
  for (const count of counts.values()) sum += count * count
  return sum
}

/** Index after the last white space: everything before it consists of whole words. */
function lastBreak(text: string): number {
  for (let at = text.length - 1; at >= 0; at--) if (/\s/u.test(text[at] ?? '')) return at + 1
  return 0
}
