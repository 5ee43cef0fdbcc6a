/** picoquic as a contender: its C library, driven by the loop of the interop peer, moves the file. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateCertificate } from '@quicether/native'
import { installPicoquic, picoquicFolder } from '../../interop/multipath/picoquic-peer.ts'
import { repositoryRoot } from '../../interop/peers.ts'
import { type Contender, PORT, Server } from './contenders.ts'
import { Transfer } from './transfer.ts'

const PROGRAM = join(repositoryRoot, 'tests', 'bench', 'links', 'picoquic_file.py')

/** Installs it from PyPI when it is missing; throws what that needs. `directory` takes a certificate. */
export async function picoquic(congestion: string, directory: string): Promise<Contender> {
  const version = await installPicoquic()
  const made = generateCertificate({ names: ['localhost'] })
  const [certificate, privateKey] = [join(directory, 'certificate.pem'), join(directory, 'key.pem')]
  writeFileSync(certificate, made.certificatePem)
  writeFileSync(privateKey, made.privateKeyPem)
  const program = ['python3', PROGRAM, picoquicFolder, congestion]
  return {
    name: `picoquic-${congestion}`,
    about: `picoquic, ${congestion}: its C library with windows of 16 MiB in a loop of Python, one datagram per call`,
    // The loop does not tell picoquic of errors of its sockets.
    outages: ['silent'],
    version: () => version,
    async serve(topology, file) {
      const [first, ...others] = topology.links.map((_, index) => `10.99.${index + 1}.2`)
      const server = new Server(topology.serverSpace, [
        ...[...program, 'server', [first, ...others].join(','), String(PORT)],
        ...[certificate, privateKey, file],
      ])
      await server.ready(/listening/u)
      const ends = topology.links.map((_, index) => `10.99.${index + 1}.1:10.99.${index + 1}.2`)
      const command = [...program, 'get', String(PORT), certificate, ...ends]
      return {
        download: () => new Transfer(topology.clientSpace, command, directory),
        [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
      }
    },
  }
}
