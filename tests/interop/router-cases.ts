/** The row in which strangers reach the demo services through `quicether router`. */
import { createHash } from 'node:crypto'
import { encodeFrame } from '../../packages/router/src/services/video-framing.ts'
import type { Case, Evidence } from './case.ts'
import type { RequestSpec } from './spec.ts'

const prose = 'the cat and the dog and the bird'.repeat(1000).replaceAll('birdthe', 'bird the')
const ANALYZE = '/text/analyze?top=3'
const TRANSFORM = '/text/transform?mode=upper'
const STREAM = '/video/stream?frames=30&fps=0&bytes=2000&seed=3'
const FRAMES = 50
const base64 = (data: string | Uint8Array): string => Buffer.from(data).toString('base64')
const frames = Array.from({ length: FRAMES }, (_, index) => encodeFrame(index, index * 33_000, 4000, 7))

const serviceRequests: readonly RequestSpec[] = [
  { method: 'POST', path: ANALYZE, base64: base64(prose) },
  { method: 'POST', path: TRANSFORM, base64: base64(prose) },
  {
    method: 'POST',
    path: '/control/command',
    headers: [['content-type', 'application/json']],
    base64: base64('[{"command":"set","key":"interop","value":41},{"command":"get","key":"interop"}]'),
  },
  { method: 'POST', path: '/video/upload', base64: base64(Buffer.concat(frames)) },
  { method: 'GET', path: STREAM },
]

export const routerCases: readonly Case[] = [
  {
    name: 'router-services',
    proves:
      'requests to the video, text and control services through `quicether router`, on parallel streams of one connection',
    connections: [{ requests: serviceRequests }],
    serverKind: 'router',
    network: { delayMs: 2, lossRatio: 0.01, seed: 8 },
    needs: { client: ['uploads'] },
    unsupported: (_client, server) => (server.hasRouter ? undefined : 'only QuicEther brings a router'),
    judge: judgeServices,
  },
]

/** One JSON answer of a service, or undefined with a reason. */
function answerOf(e: Evidence, path: string): Record<string, unknown> | undefined {
  const response = e.client.connections[0]?.responses.find((r) => r.path === path)
  try {
    const value: unknown = JSON.parse(response?.text ?? '')
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

function judgeServices(e: Evidence): (string | false)[] {
  const text = answerOf(e, ANALYZE)
  const control = answerOf(e, '/control/command')
  const upload = answerOf(e, '/video/upload')
  const transformed = e.client.connections[0]?.responses.find((r) => r.path === TRANSFORM)
  const stream = e.client.connections[0]?.responses.find((r) => r.path === STREAM)
  const sha256 = createHash('sha256').update(prose).digest('hex')
  return [
    (text?.words !== 8000 || text?.sha256 !== sha256) && `text service: ${JSON.stringify(text)?.slice(0, 200)}`,
    transformed?.sha256 !== createHash('sha256').update(prose.toUpperCase()).digest('hex') &&
      'text service: the transformed text is wrong',
    JSON.stringify(control?.results) !== '[{"ok":true,"result":{"previous":null}},{"ok":true,"result":41}]' &&
      `control service: ${JSON.stringify(control)}`,
    (upload?.frames !== FRAMES || upload?.framesMissing !== 0 || upload?.framesDamaged !== 0) &&
      `video service: ${JSON.stringify(upload)}`,
    stream?.bytes !== 30 * (2000 + 24) && `video stream: ${stream?.bytes} bytes, not ${30 * 2024}`,
    e.services.text?.analyses !== 1 && `the text service counted ${JSON.stringify(e.services.text)}`,
    e.services.video?.uploads !== 1 && `the video service counted ${JSON.stringify(e.services.video)}`,
    e.services.video?.streams !== 1 && `the video service counted ${JSON.stringify(e.services.video)}`,
    e.services.control?.keys !== 1 && `the control service counted ${JSON.stringify(e.services.control)}`,
  ]
}
