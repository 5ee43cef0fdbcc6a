/** The data that `quicether client` sends: video frames at a frame rate, texts in several languages. */
import { setTimeout as sleep } from 'node:timers/promises'
import { languageSamples } from '../services/language-profiles.ts'
import { encodeFrame, frameHeaderBytes } from '../services/video-framing.ts'

const framePayloadBytes = 8_192
const textChunkBytes = 16_384

/** Frames needed for about `sizeBytes`; at least two, so that there is an interval to measure. */
export function frameCount(sizeBytes: number): { readonly frames: number; readonly payloadBytes: number } {
  const frames = Math.max(2, Math.ceil(sizeBytes / (framePayloadBytes + frameHeaderBytes)))
  return { frames, payloadBytes: Math.max(1, Math.floor(sizeBytes / frames) - frameHeaderBytes) }
}

/** One chunk per frame, `framesPerSecond` apart; 0 = as fast as they are taken. */
export async function* videoFrames(
  sizeBytes: number,
  framesPerSecond: number,
  seed: number,
): AsyncIterable<Uint8Array> {
  const { frames, payloadBytes } = frameCount(sizeBytes)
  const startMs = performance.now()
  for (let sequence = 0; sequence < frames; sequence++) {
    const dueMs = framesPerSecond > 0 ? startMs + (sequence * 1000) / framesPerSecond : 0
    const waitMs = dueMs - performance.now()
    if (waitMs > 0) await sleep(waitMs)
    yield encodeFrame(sequence, performance.now() * 1000, payloadBytes, seed)
  }
}

/** Languages in turn, so that neighbouring streams carry different ones. */
export function sampleLanguage(index: number): string {
  const names = Object.keys(languageSamples)
  return names[index % names.length] ?? 'english'
}

/** At least `sizeBytes` of prose, one sentence per line, cut after a whole line. */
export function sampleText(sizeBytes: number, index: number): Uint8Array {
  const sample = (languageSamples[sampleLanguage(index)] ?? '').replace(/\s+/gu, ' ')
  const sentences = sample.split(/(?<=\.)\s/u)
  const lines: string[] = []
  let bytes = 0
  for (let at = 0; bytes < sizeBytes; at++) {
    const line = `${sentences[(at * 5 + index) % sentences.length] ?? ''}\n`
    lines.push(line)
    bytes += Buffer.byteLength(line)
  }
  return Buffer.from(lines.join(''))
}

/** A body in pieces, as an application would produce it. */
export async function* chunksOf(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += textChunkBytes) yield bytes.subarray(at, at + textChunkBytes)
}
