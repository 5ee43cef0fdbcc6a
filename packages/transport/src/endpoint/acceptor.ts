/** A server's door: decides what a first Initial of an unknown client gets: a connection, a Retry, or nothing. */
import { CID_LENGTH_MAX, type HeaderView } from '@quicether/wire'
import { equalBytes } from '../bytes.ts'
import { LOCAL_CID_LENGTH } from '../cid/cid-table.ts'
import type { RandomSource } from '../ports/crypto.ts'
import type { Micros, PathTuple } from '../ports/datagrams.ts'
import type { StatelessAnswers } from './stateless.ts'
import type { TokenMint } from './tokens.ts'

// RFC 9000 §14.1: "A server MUST discard an Initial packet that is carried in a UDP datagram with a payload that is smaller than the smallest allowed maximum datagram size of 1200 bytes."
export const INITIAL_DATAGRAM_MIN = 1200

export interface AcceptOptions {
  /** `always`: every client must return a Retry token; `auto`: beyond `retryAbove` handshakes under way. */
  readonly retry: 'auto' | 'always' | 'never'
  readonly retryAbove: number
  /** Handshakes under way beyond which new clients get no answer. */
  readonly handshakesMax: number
  /** Connections beyond which new clients get no answer. */
  readonly connectionsMax: number
}

export const acceptDefaults: AcceptOptions = {
  retry: 'auto',
  retryAbove: 256,
  handshakesMax: 4096,
  connectionsMax: 65_536,
}

/** What the first packet of a client entitles it to. */
export interface Admission {
  readonly originalDcid: Uint8Array
  readonly retrySourceCid: Uint8Array | undefined
  readonly isAddressValidated: boolean
  /** The token came from a Retry of ours but is not valid: close with INVALID_TOKEN. */
  readonly hasInvalidToken: boolean
}

export class Acceptor {
  readonly options: AcceptOptions
  readonly #tokens: TokenMint
  readonly #answers: StatelessAnswers
  readonly #random: RandomSource
  refused = 0

  constructor(options: AcceptOptions, tokens: TokenMint, answers: StatelessAnswers, random: RandomSource) {
    this.options = options
    this.#tokens = tokens
    this.#answers = answers
    this.#random = random
  }

  /** Undefined: no connection for this packet (a Retry may have been queued). */
  admit(
    bytes: Uint8Array,
    header: HeaderView,
    datagramBytes: number,
    tuple: PathTuple,
    load: { readonly handshakes: number; readonly connections: number },
    nowUs: Micros,
  ): Admission | undefined {
    // RFC 9000 §7.2: the first DCID of a client MUST be at least 8 bytes long
    if (datagramBytes < INITIAL_DATAGRAM_MIN || header.dcidLength < 8 || header.dcidLength > CID_LENGTH_MAX)
      return undefined
    const { options } = this
    if (load.connections >= options.connectionsMax || load.handshakes >= options.handshakesMax) {
      this.refused++
      return undefined
    }
    const dcid = bytes.slice(header.dcidOffset, header.dcidOffset + header.dcidLength)
    const token = bytes.slice(header.tokenOffset, header.tokenOffset + header.tokenLength)
    const verdict =
      token.length === 0 ? ({ kind: 'none' } as const) : this.#tokens.check(token, tuple, header.version, nowUs)
    if (verdict.kind === 'retry') {
      if (!equalBytes(verdict.retryScid, dcid))
        return { originalDcid: dcid, retrySourceCid: undefined, isAddressValidated: false, hasInvalidToken: true }
      return {
        originalDcid: verdict.originalDcid,
        retrySourceCid: dcid,
        isAddressValidated: true,
        hasInvalidToken: false,
      }
    }
    // RFC 9000 §8.1.2: "If a server receives a client Initial that contains an invalid Retry token … SHOULD immediately close the connection with an INVALID_TOKEN error."
    if (verdict.kind === 'invalid') {
      return { originalDcid: dcid, retrySourceCid: undefined, isAddressValidated: false, hasInvalidToken: true }
    }
    const isValidated = verdict.kind === 'new'
    if (!isValidated && this.#wantsRetry(load.handshakes)) {
      this.#sendRetry(bytes, header, dcid, tuple, nowUs)
      return undefined
    }
    return { originalDcid: dcid, retrySourceCid: undefined, isAddressValidated: isValidated, hasInvalidToken: false }
  }

  #wantsRetry(handshakes: number): boolean {
    const { retry, retryAbove } = this.options
    return retry === 'always' || (retry === 'auto' && handshakes >= retryAbove)
  }

  #sendRetry(bytes: Uint8Array, header: HeaderView, dcid: Uint8Array, tuple: PathTuple, nowUs: Micros): void {
    // RFC 9000 §17.2.5.1: a fresh connection ID, different from the client's choice; one Retry per datagram at most
    const retryScid = new Uint8Array(LOCAL_CID_LENGTH)
    this.#random.fill(retryScid)
    const clientScid = bytes.slice(header.scidOffset, header.scidOffset + header.scidLength)
    const token = this.#tokens.retry(tuple, dcid, retryScid, nowUs)
    this.#answers.retry(header.version, clientScid, dcid, retryScid, token, tuple)
  }
}
