/** HTTP/3 on several processors: this file is the main program and the module of its workers. Arguments: port. */
import { isMainThread } from 'node:worker_threads'
import { generateCertificate, type Identity, serve as serveHttp3, serveWorkers, type WorkerSeat } from 'quicether'

/** What every worker thread does. */
export async function serve(seat: WorkerSeat) {
  return await serveHttp3({
    seat,
    port: seat.port,
    identities: seat.data as readonly Identity[],
    fetch: () => new Response(`one of ${seat.count} workers\n`),
  })
}

if (isMainThread) {
  const { certificatePem, privateKeyPem, certificateSha256Hex } = generateCertificate({ names: ['localhost'] })
  const identity = {
    certificate: { pem: certificatePem, label: 'generated' },
    privateKey: { pem: privateKeyPem, label: 'generated' },
  }
  const group = await serveWorkers({
    module: new URL(import.meta.url),
    workers: 2,
    addresses: ['127.0.0.1'],
    port: Number(process.argv[2] ?? 4433),
    data: [identity],
    onWorkerFailed: ({ index, problem }) => console.error(`worker ${index} failed: ${problem.message}`),
  })
  console.log(`port ${group.port} pin ${certificateSha256Hex}`)
  process.once('SIGTERM', () => void group.close({ graceMs: 2_000 }))
}
