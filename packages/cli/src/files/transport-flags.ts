/** Flags of `serve` and `get` for what the engine does with paths and streams, and the configuration they make. */
import { UserError } from '@quicether/router'
import {
  type AckPath,
  ackPaths,
  congestionAlgorithms,
  type CongestionAlgorithm,
  type PacketSchedulerName,
  packetSchedulers,
  type StreamSchedulerName,
  streamSchedulers,
  type TransportConfig,
  transportDefaults,
} from '@quicether/transport'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { list, windowKiB, wholeNumber } from '../option-values.ts'
import { isModulePath, loadScheduler } from './scheduler-module.ts'

export interface TransportFlags {
  /** A name, or the path of a module. */
  readonly scheduler: string
  readonly weights?: readonly number[]
  readonly streamScheduler: StreamSchedulerName
  readonly congestion: CongestionAlgorithm
  readonly ackPath: AckPath
  readonly initialWindow?: number
  readonly flowWindow?: number
  readonly idleTimeout: number
}

/** Names of schedulers as they were called elsewhere. */
const aliases: Readonly<Record<string, PacketSchedulerName>> = { mrtt: 'minrtt' }

/** Adds the flags to a command. */
export function addTransportOptions(command: Command): Command {
  return command
    .option(
      '--scheduler <name>',
      `which path a packet takes: ${packetSchedulers.join(', ')}, or the path of a module of yours, e.g. ./mine.ts`,
      scheduler,
      defaultName(transportDefaults.packetScheduler),
    )
    .option('--weights <numbers>', 'for the scheduler weighted: weights of the paths by ID, e.g. 3,1', weights)
    .addOption(
      new Option('--stream-scheduler <name>', 'which stream goes next').choices(streamSchedulers).default('rfc9218'),
    )
    .addOption(
      new Option('--congestion <name>', 'congestion control of each path')
        .choices(congestionAlgorithms)
        .default(transportDefaults.congestion),
    )
    .addOption(
      new Option('--ack-path <name>', 'where acknowledgments go: over the path they are about, the fastest, or any')
        .choices(ackPaths)
        .default(transportDefaults.ackPath),
    )
    .option('-c, --initial-window <packets>', 'congestion window that a path begins with', wholeNumber(2, 1_000))
    .option('-f, --flow-window <kB>', 'initial window of streams and the connection in KiB', windowKiB)
    .option(
      '--idle-timeout <s>',
      'give up when no path has worked for so long; the shorter one of both sides holds',
      wholeNumber(1, 3_600),
      120,
    )
}

/** What the flags mean for the engine. Throws `UserError` for scheduler modules that cannot be used. */
export async function transportConfig(flags: TransportFlags): Promise<Partial<TransportConfig>> {
  const { weights: pathWeights, initialWindow: initialWindowPackets, flowWindow: windowBytes } = flags
  if (pathWeights !== undefined && flags.scheduler !== 'weighted') {
    throw new UserError('ERR_OPTION', {
      what: `weights are given, but the scheduler is ${flags.scheduler}`,
      where: '--weights',
      remedy: 'Add --scheduler weighted, or leave them out.',
    })
  }
  return {
    packetScheduler: isModulePath(flags.scheduler)
      ? await loadScheduler(flags.scheduler)
      : (flags.scheduler as PacketSchedulerName),
    streamScheduler: flags.streamScheduler,
    congestion: flags.congestion,
    ackPath: flags.ackPath,
    idleTimeoutUs: flags.idleTimeout * 1_000_000,
    ...(pathWeights === undefined ? {} : { pathWeights }),
    ...(initialWindowPackets === undefined ? {} : { initialWindowPackets }),
    ...(windowBytes === undefined ? {} : { streamWindowBytes: windowBytes, connectionWindowBytes: windowBytes }),
  }
}

function defaultName(choice: TransportConfig['packetScheduler']): string {
  return typeof choice === 'string' ? choice : 'minrtt'
}

function scheduler(text: string): string {
  const name = Object.hasOwn(aliases, text) ? aliases[text] : text
  const known: readonly string[] = packetSchedulers
  if (name !== undefined && (known.includes(name) || isModulePath(name))) return name
  throw new InvalidArgumentError(
    `Expected one of ${packetSchedulers.join(', ')}, or the path of a module such as ./mine.ts.`,
  )
}

function weights(text: string): readonly number[] {
  const values = list(text).map(Number)
  if (values.every((value) => value >= 0.001 && value <= 1_000)) return values
  throw new InvalidArgumentError('Expected numbers from 0.001 to 1000, separated by commas, e.g. 3,1.')
}
