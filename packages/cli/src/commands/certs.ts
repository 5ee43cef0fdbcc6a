/** `quicether certs`: makes a self-signed certificate and its key. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectory } from '@quicether/net/files'
import { messageOf, UserError } from '@quicether/router'
import type { Command } from 'commander'
import { makeCertificate, writePair } from '../certificates.ts'
import { examples } from '../help.ts'
import { wholeNumber } from '../option-values.ts'

interface CertsFlags {
  readonly names: string
  readonly days: number
  readonly out: string
  readonly force?: boolean
}

/** Adds the command to the program. */
export function addCertsCommand(program: Command): void {
  program
    .command('certs')
    .summary('make a self-signed certificate')
    .description(
      'Makes a self-signed certificate (cert.pem) and its private key (key.pem, readable by its owner only).',
    )
    .option('--names <list>', 'host names and IP addresses, separated by commas', 'localhost,127.0.0.1,::1')
    .option('--days <days>', 'days of validity', wholeNumber(1, 36_500), 365)
    .option('--out <directory>', 'where to write', '.')
    .option('--force', 'replace existing files')
    .addHelpText(
      'after',
      examples(['quicether certs', 'quicether certs --names router.example.org,192.0.2.7 --days 90 --out certs']),
    )
    .action(runCerts)
}

async function runCerts(flags: CertsFlags): Promise<void> {
  const certificateFile = join(flags.out, 'cert.pem')
  const keyFile = join(flags.out, 'key.pem')
  for (const file of [certificateFile, keyFile]) {
    if (!existsSync(file) || flags.force === true) continue
    throw new UserError('ERR_CERTIFICATE', {
      what: 'the file exists already',
      where: file,
      remedy: 'Choose another --out, or replace it with --force.',
    })
  }
  const names = flags.names
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  const made = await makeCertificate(names, flags.days)
  try {
    makeDirectory(flags.out)
    writePair(certificateFile, keyFile, made)
  } catch (error) {
    throw new UserError('ERR_CERTIFICATE', {
      what: `the files cannot be written: ${messageOf(error)}`,
      where: flags.out,
      remedy: 'Choose a writable directory with --out.',
      cause: error,
    })
  }
  process.stdout.write(
    `certificate  ${certificateFile}\nprivate key  ${keyFile}\nnames        ${names.join(', ')}\nvalid for    ${flags.days} days\n`,
  )
}
