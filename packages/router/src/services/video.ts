/** The demo's video service: analyses uploads while they arrive and streams generated video at a frame rate. */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../user-error.ts'
import {
  HttpProblem,
  queryNumber,
  type RunningService,
  sendJson,
  startService,
  untilDrained,
} from './service-server.ts'
import { VideoAnalysis } from './video-analysis.ts'
import { encodeFrame } from './video-framing.ts'

/** `POST /video/upload`, `GET /video/stream?frames=&fps=&bytes=&seed=`, `GET /video/stats`, `GET /health`. */
export function startVideoService(options: { readonly port: number; readonly host?: string }): Promise<RunningService> {
  const totals = {
    uploads: 0,
    uploadsBroken: 0,
    streams: 0,
    streamsBroken: 0,
    bytesReceived: 0,
    bytesSent: 0,
    frames: 0,
  }
  return startService({
    ...options,
    name: 'video',
    handler: async (request, response, url) => {
      const route = `${request.method} ${url.pathname}`
      if (route === 'POST /video/upload') return await upload(request, response, totals)
      if (route === 'GET /video/stream') return await stream(response, url, totals)
      if (route === 'GET /video/stats') return sendJson(response, 200, totals)
      throw new HttpProblem(404, `${route} is not known; try POST /video/upload, GET /video/stream or GET /video/stats`)
    },
  })
}

interface VideoTotals {
  uploads: number
  uploadsBroken: number
  streams: number
  streamsBroken: number
  bytesReceived: number
  bytesSent: number
  frames: number
}

async function upload(request: IncomingMessage, response: ServerResponse, totals: VideoTotals): Promise<void> {
  totals.uploads++
  const analysis = new VideoAnalysis()
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      totals.bytesReceived += chunk.byteLength
      analysis.push(chunk, performance.now())
    }
    const report = analysis.finish()
    totals.frames += report.frames
    sendJson(response, 200, report)
  } catch (error) {
    totals.uploadsBroken++
    throw new HttpProblem(400, messageOf(error))
  }
}

async function stream(response: ServerResponse, url: URL, totals: VideoTotals): Promise<void> {
  const frames = queryNumber(url, 'frames', 60, 1, 1_000_000)
  const framesPerSecond = queryNumber(url, 'fps', 30, 0, 1_000)
  const payloadBytes = queryNumber(url, 'bytes', 4_096, 0, 1_048_576)
  const seed = queryNumber(url, 'seed', 0, 0, 0xffff_ffff)
  totals.streams++
  response.writeHead(200, { 'content-type': 'application/x-quicether-video', trailer: 'x-content-sha256, x-frames' })
  const hash = createHash('sha256')
  const startMs = performance.now()
  for (let sequence = 0; sequence < frames; sequence++) {
    const frame = encodeFrame(sequence, performance.now() * 1000, payloadBytes, seed)
    hash.update(frame)
    totals.bytesSent += frame.length
    if (!response.write(frame)) await untilDrained(response)
    if (response.destroyed) {
      totals.streamsBroken++
      return
    }
    if (framesPerSecond > 0) await pace(startMs, ((sequence + 1) * 1000) / framesPerSecond)
  }
  response.addTrailers({ 'x-content-sha256': hash.digest('hex'), 'x-frames': String(frames) })
  response.end()
}

/** Waits until `offsetMs` after `startMs`; a late frame is not waited for. */
async function pace(startMs: number, offsetMs: number): Promise<void> {
  const waitMs = startMs + offsetMs - performance.now()
  if (waitMs > 0) await sleep(waitMs)
}
