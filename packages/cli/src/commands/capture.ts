/** `quicether capture`: reads captures back, decrypted, with the packets of all paths. */
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { CaptureDecoder, CaptureError, type DecodedPacket } from '@quicether/net'
import { codeOf, messageOf, UserError } from '@quicether/router'
import type { Command } from 'commander'
import { CaptureSummary } from '../capture/capture-summary.ts'
import { packetJson, packetLine } from '../capture/packet-text.ts'
import { examples } from '../help.ts'
import { wholeNumber } from '../option-values.ts'

interface DecodeFlags {
  readonly keys?: string
  readonly path?: number
  readonly connection?: number
  readonly summary?: boolean
  readonly json?: boolean
}

const PATH_ID_MAX = 2 ** 32 - 1
const OUTPUT_BYTES = 64 * 1024

/** Adds the command to the program. */
export function addCaptureCommand(program: Command): void {
  const capture = program
    .command('capture')
    .summary('read packet captures')
    .description('Reads packet captures (pcapng) of QUIC.')
    .addHelpText('after', examples(['quicether capture decode client.pcapng']))
  capture
    .command('decode')
    .summary('print packets and frames of all paths')
    .description(
      'Decrypts the QUIC packets of a pcapng file, those of further paths (RFC 10069) included, and prints their frames. Captures of QuicEther have the secrets inside; for others give a key log (SSLKEYLOGFILE).',
    )
    .argument('<file>', 'pcapng file; - = standard input')
    .option('--keys <file>', 'key log in the NSS format')
    .option('--path <id>', 'only this path', wholeNumber(0, PATH_ID_MAX))
    .option('--connection <number>', 'only this connection, from 1', wholeNumber(1, 1_000_000))
    .option('--summary', 'print only what it adds up to')
    .option('--json', 'print a JSON object per line')
    .addHelpText(
      'after',
      examples([
        'quicether capture decode client.pcapng',
        'quicether capture decode client.pcapng --path 1',
        'quicether capture decode dump.pcapng --keys keys.log --json',
      ]),
    )
    .allowExcessArguments(false)
    .action(runDecode)
}

async function runDecode(file: string, flags: DecodeFlags): Promise<void> {
  const printer = new Printer(flags)
  const decoder = new CaptureDecoder({ onPacket: (packet) => printer.packet(packet) })
  if (flags.keys !== undefined) await readKeys(flags.keys, decoder)
  let damage: unknown
  try {
    for await (const chunk of input(file)) {
      decoder.push(chunk as Uint8Array)
      await printer.flush()
    }
    decoder.end()
  } catch (error) {
    // What came before the damage is shown, too.
    damage = error
  }
  if (damage === undefined || decoder.totals().captured > 0) await printer.end(decoder)
  if (damage instanceof CaptureError) {
    throw new UserError('ERR_CAPTURE', { what: damage.message, where: file, remedy: remedyFor(damage) })
  }
  if (damage !== undefined) throw unreadable(damage, file, 'Give a pcapng file.')
}

function input(file: string): AsyncIterable<unknown> {
  return file === '-' ? process.stdin : createReadStream(file)
}

function remedyFor({ message }: CaptureError): string {
  if (message.includes('classic pcap')) return 'Convert it first.'
  return message.includes('in the middle') ? 'What came before it was decoded.' : 'Give a whole pcapng file.'
}

function unreadable(error: unknown, file: string, remedy: string): unknown {
  const code = codeOf(error)
  if (!/^E[A-Z]+$/u.test(code)) return error
  const what = code === 'ENOENT' ? 'there is no such file' : messageOf(error)
  return new UserError('ERR_CAPTURE', { what, where: file, remedy })
}

/** Hands a key log over line by line: such files grow for years. */
async function readKeys(file: string, decoder: CaptureDecoder): Promise<void> {
  const before = decoder.totals().secrets
  try {
    const stream = createReadStream(file)
    // Opened first: readline does not pass errors of its input on.
    await once(stream, 'open')
    for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }))
      decoder.addKeys(line)
  } catch (error) {
    throw unreadable(error, file, 'Give the key log with --keys FILE.')
  }
  if (decoder.totals().secrets > before) return
  throw new UserError('ERR_CAPTURE', {
    what: 'the key log has no secrets of TLS 1.3',
    where: file,
    remedy: 'It needs lines like CLIENT_TRAFFIC_SECRET_0 …, as --keylog or SSLKEYLOGFILE write them.',
  })
}

/** Collects lines and writes them as fast as the reader of standard output takes them. */
class Printer {
  readonly #flags: DecodeFlags
  readonly #summary = new CaptureSummary()
  #text = ''
  #startUs = -1

  constructor(flags: DecodeFlags) {
    this.#flags = flags
  }

  packet(packet: DecodedPacket): void {
    const { path, connection, json, summary } = this.#flags
    if (this.#startUs < 0) this.#startUs = packet.timeUs
    if (path !== undefined && packet.path !== path) return
    if (connection !== undefined && packet.connection !== connection) return
    const news = this.#summary.add(packet)
    if (summary === true) return
    if (json === true) this.#text += `${packetJson(packet)}\n`
    else this.#text += `${news === undefined ? '' : `${news}\n`}${packetLine(packet, this.#startUs)}\n`
  }

  async flush(force = false): Promise<void> {
    if (this.#text === '' || (!force && this.#text.length < OUTPUT_BYTES)) return
    const text = this.#text
    this.#text = ''
    if (!process.stdout.write(text)) await once(process.stdout, 'drain')
  }

  async end(decoder: CaptureDecoder): Promise<void> {
    const totals = decoder.totals()
    if (this.#flags.json === true) this.#text += this.#summary.json(totals)
    else this.#text += `${this.#flags.summary === true ? '' : '\n'}${this.#summary.text(totals)}`
    await this.flush(true)
  }
}
