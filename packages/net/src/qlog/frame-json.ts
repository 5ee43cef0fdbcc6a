/** Turns decoded frames into the JSON of draft-ietf-quic-qlog-quic-events §"QUIC Frames", as text. */
import {
  type AckView,
  decodeFrames,
  type FrameSink,
  frameTypeName,
  transportErrorName,
  visitAddresses,
} from '@quicether/wire'

/** Bytes of opaque content (tokens, close reasons) that are written out. */
const OPAQUE_BYTES_MAX = 256

/** Reused for every packet of a connection. */
export class FrameJson implements FrameSink {
  #text = ''
  #bytes: Uint8Array = new Uint8Array(0)
  #ackDelayExponent = 3

  /**
   * JSON array of the frames in `bytes[start, end)`, a payload of `level` (0 to 3). A violation ends the array with an
   * `unknown` frame that says what was wrong; never throws.
   */
  encode(bytes: Uint8Array, start: number, end: number, level: number, ackDelayExponent: number): string {
    this.#text = ''
    this.#bytes = bytes
    this.#ackDelayExponent = ackDelayExponent
    try {
      if (start < end) decodeFrames(bytes, start, end, level, true, this)
    } catch (error) {
      this.#add('unknown', `,"details":${JSON.stringify(error instanceof Error ? error.message : String(error))}`)
    }
    return `[${this.#text}]`
  }

  onPadding(count: number): void {
    this.#add('padding', `,"raw":{"payload_length":${count}}`)
  }

  onPing(): void {
    this.#add('ping', '')
  }

  onAck(ack: AckView): void {
    let ranges = ''
    for (let at = 0; at < ack.count; at++) {
      const largest = ack.largest[at] as number
      const smallest = ack.smallest[at] as number
      const range = smallest === largest ? `[${largest}]` : `[${smallest},${largest}]`
      ranges += at === 0 ? range : `,${range}`
    }
    const delayMs = (ack.delay * 2 ** this.#ackDelayExponent) / 1000
    const ecn = ack.hasEcn ? `,"ect0":${ack.ect0},"ect1":${ack.ect1},"ce":${ack.ce}` : ''
    const path = ack.pathId < 0 ? '' : `,"path_id":${ack.pathId}`
    this.#add(ack.pathId < 0 ? 'ack' : 'path_ack', `${path},"ack_delay":${delayMs},"acked_ranges":[${ranges}]${ecn}`)
  }

  onResetStream(id: number, code: number, finalSize: number): void {
    this.#add('reset_stream', `,"stream_id":${id},"error":"unknown","error_code":${code},"final_size":${finalSize}`)
  }

  onStopSending(id: number, code: number): void {
    this.#add('stop_sending', `,"stream_id":${id},"error":"unknown","error_code":${code}`)
  }

  onCrypto(offset: number, start: number, end: number): void {
    this.#add('crypto', `,"offset":${offset},"raw":{"length":${end - start}}`)
  }

  onNewToken(start: number, end: number): void {
    this.#add('new_token', `,"token":{"raw":{"length":${end - start},"data":"${this.#hex(start, end)}"}}`)
  }

  onStream(id: number, offset: number, start: number, end: number, fin: boolean): void {
    const ending = fin ? ',"fin":true' : ''
    this.#add('stream', `,"stream_id":${id},"offset":${offset}${ending},"raw":{"length":${end - start}}`)
  }

  onMaxData(limit: number): void {
    this.#add('max_data', `,"maximum":${limit}`)
  }

  onMaxStreamData(id: number, limit: number): void {
    this.#add('max_stream_data', `,"stream_id":${id},"maximum":${limit}`)
  }

  onMaxStreams(bidirectional: boolean, limit: number): void {
    this.#add('max_streams', `,"stream_type":"${streamType(bidirectional)}","maximum":${limit}`)
  }

  onDataBlocked(limit: number): void {
    this.#add('data_blocked', `,"limit":${limit}`)
  }

  onStreamDataBlocked(id: number, limit: number): void {
    this.#add('stream_data_blocked', `,"stream_id":${id},"limit":${limit}`)
  }

  onStreamsBlocked(bidirectional: boolean, limit: number): void {
    this.#add('streams_blocked', `,"stream_type":"${streamType(bidirectional)}","limit":${limit}`)
  }

  onNewConnectionId(
    pathId: number,
    isPathFrame: boolean,
    sequence: number,
    retirePriorTo: number,
    cidStart: number,
    cidLength: number,
    tokenStart: number,
  ): void {
    const path = isPathFrame ? `,"path_id":${pathId}` : ''
    const cid = this.#hex(cidStart, cidStart + cidLength)
    const token = this.#hex(tokenStart, tokenStart + 16)
    this.#add(
      isPathFrame ? 'path_new_connection_id' : 'new_connection_id',
      `${path},"sequence_number":${sequence},"retire_prior_to":${retirePriorTo},"connection_id":"${cid}","stateless_reset_token":"${token}"`,
    )
  }

  onRetireConnectionId(pathId: number, isPathFrame: boolean, sequence: number): void {
    const path = isPathFrame ? `,"path_id":${pathId}` : ''
    this.#add(
      isPathFrame ? 'path_retire_connection_id' : 'retire_connection_id',
      `${path},"sequence_number":${sequence}`,
    )
  }

  onPathChallenge(start: number): void {
    this.#add('path_challenge', `,"data":"${this.#hex(start, start + 8)}"`)
  }

  onPathResponse(start: number): void {
    this.#add('path_response', `,"data":"${this.#hex(start, start + 8)}"`)
  }

  onConnectionClose(application: boolean, code: number, frameType: number, start: number, end: number): void {
    const reason = new TextDecoder().decode(this.#bytes.subarray(start, Math.min(end, start + OPAQUE_BYTES_MAX)))
    const error = application ? 'unknown' : qlogError(code)
    const codeField = error === 'unknown' ? `,"error_code":${code}` : ''
    const trigger = application ? '' : `,"trigger_frame_type":"${frameTypeName(frameType)}"`
    this.#add(
      'connection_close',
      `,"error_space":"${application ? 'application' : 'transport'}","error":"${error}"${codeField},"reason":${JSON.stringify(reason)}${trigger}`,
    )
  }

  onHandshakeDone(): void {
    this.#add('handshake_done', '')
  }

  onDatagram(start: number, end: number): void {
    this.#add('datagram', `,"raw":{"length":${end - start}}`)
  }

  onPathAbandon(pathId: number, code: number): void {
    this.#add('path_abandon', `,"path_id":${pathId},"error_code":${code}`)
  }

  onPathStatus(pathId: number, available: boolean, sequence: number): void {
    this.#add(
      available ? 'path_status_available' : 'path_status_backup',
      `,"path_id":${pathId},"path_status_sequence_number":${sequence}`,
    )
  }

  onMaxPathId(limit: number): void {
    this.#add('max_path_id', `,"maximum_path_id":${limit}`)
  }

  onPathsBlocked(limit: number): void {
    this.#add('paths_blocked', `,"maximum_path_id":${limit}`)
  }

  onPathCidsBlocked(pathId: number, nextSequence: number): void {
    this.#add('path_cids_blocked', `,"path_id":${pathId},"next_sequence_number":${nextSequence}`)
  }

  onAdditionalAddresses(sequence: number, _count: number, start: number, end: number): void {
    const addresses: string[] = []
    visitAddresses(this.#bytes, start, end, (address, port) => addresses.push(`{"ip":"${address}","port":${port}}`))
    this.#add('additional_addresses', `,"sequence_number":${sequence},"addresses":[${addresses.join(',')}]`)
  }

  #add(type: string, rest: string): void {
    this.#text += `${this.#text === '' ? '' : ','}{"frame_type":"${type}"${rest}}`
  }

  #hex(start: number, end: number): string {
    const kept = Math.min(end, start + OPAQUE_BYTES_MAX)
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + start, kept - start).toString('hex')
  }
}

/** qlog's spelling of a transport error code; `unknown` for codes without a name. */
export function qlogError(code: number): string {
  if (code >= 0x100 && code <= 0x1ff) return `crypto_error_0x${code.toString(16)}`
  const name = transportErrorName(code)
  return name.startsWith('0x') ? 'unknown' : name.toLowerCase()
}

function streamType(bidirectional: boolean): string {
  return bidirectional ? 'bidirectional' : 'unidirectional'
}
