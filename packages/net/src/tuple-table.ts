/** Interns path tuples, so that the engine recognises a path by identity. Bounded: spoofed sources cannot fill memory. */
import { Address } from '@quicether/native'
import type { PathTuple } from '@quicether/transport'
import { formatIp, writeIp } from './ip-address.ts'

/** A tuple with what the socket needs to send to it. */
export class UdpTuple implements PathTuple {
  readonly key: string
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly interfaceIndex: number
  readonly socket: number
  /** Words for `UdpSocket.send`. */
  readonly route: Int32Array

  constructor(fields: Omit<PathTuple, 'key'>, route: Int32Array) {
    const { localAddress, localPort, remoteAddress, remotePort, interfaceIndex, socket } = fields
    this.key = `${localAddress}|${localPort}|${remoteAddress}|${remotePort}|${interfaceIndex}|${socket}`
    this.localAddress = localAddress
    this.localPort = localPort
    this.remoteAddress = remoteAddress
    this.remotePort = remotePort
    this.interfaceIndex = interfaceIndex
    this.socket = socket
    this.route = route
  }
}

/** What one bound socket contributes to its tuples. */
export interface LocalEnd {
  readonly socket: number
  readonly address: string
  readonly port: number
  /** The local address comes from each datagram and answers leave from it: a server bound to all addresses. */
  readonly isPinned: boolean
}

/** Words that make a tuple: family, port, address and scope of the remote end, family and address of the local one. */
const KEY_WORDS = Address.Interface

/** Generations are swapped at this many tuples; those in use move on, the rest is forgotten. */
const GENERATION_MAX = 32_768

/** Tuples of one hash; more are somebody's attempt to make look-ups slow. */
const COLLISIONS_MAX = 8

/** One table per socket. */
export class TupleTable {
  readonly #local: LocalEnd
  #young: Map<number, UdpTuple[]> = new Map()
  #old: Map<number, UdpTuple[]> = new Map()
  #youngCount = 0
  #last: UdpTuple | undefined

  constructor(local: LocalEnd) {
    this.#local = local
  }

  /** Tuples remembered now, at most. */
  get size(): number {
    let count = this.#youngCount
    for (const list of this.#old.values()) count += list.length
    return count
  }

  /** The tuple of the address words at `words[at]`. */
  intern(words: Int32Array, at: number): UdpTuple {
    // Trains and quiet servers see one peer many times in a row.
    if (this.#last !== undefined && this.#matches(this.#last, words, at)) return this.#last
    const hash = this.#hash(words, at)
    const tuple = this.#find(this.#young, hash, words, at) ?? this.#adopt(hash, words, at)
    this.#last = tuple
    return tuple
  }

  #adopt(hash: number, words: Int32Array, at: number): UdpTuple {
    const tuple = this.#find(this.#old, hash, words, at) ?? this.#create(words, at)
    if (this.#youngCount >= GENERATION_MAX) {
      this.#old = this.#young
      this.#young = new Map()
      this.#youngCount = 0
    }
    const list = this.#young.get(hash)
    this.#youngCount++
    if (list === undefined) this.#young.set(hash, [tuple])
    else {
      if (list.length >= COLLISIONS_MAX) {
        list.shift()
        this.#youngCount--
      }
      list.push(tuple)
    }
    return tuple
  }

  #find(map: Map<number, UdpTuple[]>, hash: number, words: Int32Array, at: number): UdpTuple | undefined {
    const list = map.get(hash)
    if (list === undefined) return undefined
    for (const tuple of list) if (this.#matches(tuple, words, at)) return tuple
    return undefined
  }

  #matches(tuple: UdpTuple, words: Int32Array, at: number): boolean {
    const { route } = tuple
    const end = this.#local.isPinned ? KEY_WORDS : Address.LocalFamily
    for (let index = 0; index < end; index++) if (route[index] !== words[at + index]) return false
    return true
  }

  #hash(words: Int32Array, at: number): number {
    const end = this.#local.isPinned ? KEY_WORDS : Address.LocalFamily
    let hash = 0
    for (let index = 0; index < end; index++)
      hash = Math.imul(hash ^ (words[at + index] as number), 0x9e3779b1) ^ (hash >>> 15)
    return hash | 0
  }

  #create(words: Int32Array, at: number): UdpTuple {
    const local = this.#local
    const route = words.slice(at, at + Address.Words)
    route[Address.Interface] = 0
    const isPinned = local.isPinned && route[Address.LocalFamily] !== 0
    if (!isPinned) route.fill(0, Address.LocalFamily, Address.Words)
    const scope = route[Address.RemoteScope] as number
    const fields = {
      localAddress: isPinned ? formatIp(route[Address.LocalFamily] as number, route, Address.LocalIp) : local.address,
      localPort: local.port,
      remoteAddress: formatIp(route[Address.RemoteFamily] as number, route, Address.RemoteIp),
      remotePort: route[Address.RemotePort] as number,
      // Only link-local addresses need it to be told apart; elsewhere it may change without the path changing.
      interfaceIndex: scope,
      socket: local.socket,
    }
    return new UdpTuple(fields, route)
  }
}

/** Address words of a remote end, local end left open. */
export function remoteWords(address: string, port: number, scope: number): Int32Array {
  const words = new Int32Array(Address.Words)
  words[Address.RemoteFamily] = writeIp(address, words, Address.RemoteIp)
  words[Address.RemotePort] = port
  words[Address.RemoteScope] = scope
  return words
}
