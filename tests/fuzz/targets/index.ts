/** All fuzz targets by name; each is loaded only when it runs. */
import type { FuzzTarget } from '../target.ts'

export const targets: ReadonlyMap<string, () => Promise<FuzzTarget>> = new Map([
  ['packet-header', async () => (await import('./packet-header.ts')).packetHeader],
  ['frames', async () => (await import('./frames.ts')).frames],
  ['transport-parameters', async () => (await import('./transport-parameters.ts')).transportParameters],
  ['qpack-decoder', async () => (await import('./qpack.ts')).qpackDecoder],
  ['qpack-round-trip', async () => (await import('./qpack.ts')).qpackRoundTrip],
  ['connection', async () => (await import('./connection.ts')).connection],
  ['http3-session', async () => (await import('./http3-session.ts')).http3Session],
  ['capture', async () => (await import('./capture.ts')).capture],
  ['http3-frames', async () => (await import('./http3-frames.ts')).http3Frames],
])
