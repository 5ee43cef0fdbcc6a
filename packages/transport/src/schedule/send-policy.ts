/** The joint decision about paths and streams: what a packet scheduler and a stream scheduler make together. */
import type { StreamScheduler } from '../stream/stream-scheduler.ts'
import { type StreamSchedulerName, createStreamScheduler } from '../stream/stream-schedulers.ts'
import type { PacketScheduler, PacketSchedulerFactory } from './packet-scheduler.ts'
import { type PacketSchedulerName, createPacketScheduler } from './schedulers.ts'

/**
 * Everything a connection asks when it has something to send: which path carries the next burst (`pick`), in which order
 * streams fill it (`createStreamOrder`), which streams and datagrams are interactive and where those may go, whether
 * data is sent on every path. A packet scheduler is a policy that leaves the order of streams to somebody else.
 */
export interface SendPolicy extends PacketScheduler {
  /** A fresh order for streams that may go the same ways; called again for each path that streams are bound to. */
  createStreamOrder(): StreamScheduler
}

export type SendPolicyFactory = () => SendPolicy

export interface SendPolicyChoice {
  readonly packetScheduler: PacketSchedulerName | PacketSchedulerFactory
  readonly pathWeights: readonly number[]
  readonly streamScheduler: StreamSchedulerName
  /** Instead of both. */
  readonly sendPolicy?: SendPolicyFactory | undefined
}

/** The policy of one connection. Every packet scheduler goes with every stream scheduler. */
export function createSendPolicy(choice: SendPolicyChoice): SendPolicy {
  if (choice.sendPolicy !== undefined) return choice.sendPolicy()
  const paths = createPacketScheduler(choice.packetScheduler, choice.pathWeights)
  const createStreamOrder = (): StreamScheduler => createStreamScheduler(choice.streamScheduler)
  return combine(paths, createStreamOrder)
}

/** A policy of one scheduler for paths and an order for streams. */
export function combine(paths: PacketScheduler, createStreamOrder: () => StreamScheduler): SendPolicy {
  const { isInteractive, admitsInteractive, onSent } = paths
  return {
    name: paths.name,
    isRedundant: paths.isRedundant ?? false,
    createStreamOrder,
    pick: (schedule) => paths.pick(schedule),
    ...(onSent === undefined ? {} : { onSent: (lane, bytes) => onSent.call(paths, lane, bytes) }),
    ...(isInteractive === undefined
      ? {}
      : { isInteractive: (priority, bytes) => isInteractive.call(paths, priority, bytes) }),
    ...(admitsInteractive === undefined ? {} : { admitsInteractive: (lane) => admitsInteractive.call(paths, lane) }),
  }
}
