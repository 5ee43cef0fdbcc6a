/** Joins the borrowed chunks of a read, a packet's worth each, into fewer and larger pieces of the reader's own. */

const PIECE_BYTES = 65_536
const FIRST_PIECE_BYTES = 4_096

/** Pass `take` to a read, then `shift` the pieces; call `end` between them. */
export class PieceJoiner {
  readonly take: (chunk: Uint8Array) => void
  readonly #pieces: Uint8Array<ArrayBuffer>[]
  #piece: Uint8Array<ArrayBuffer> | undefined
  #used: number

  constructor() {
    this.#pieces = []
    this.#piece = undefined
    this.#used = 0
    this.take = (chunk) => this.#take(chunk)
  }

  /** Complete pieces that wait. */
  get length(): number {
    return this.#pieces.length
  }

  /** The read is over: what it left becomes the last piece. */
  end(): void {
    const piece = this.#piece
    if (piece !== undefined && this.#used > 0) {
      this.#pieces.push(this.#used === piece.length ? piece : piece.subarray(0, this.#used))
    }
    this.#piece = undefined
    this.#used = 0
  }

  shift(): Uint8Array<ArrayBuffer> | undefined {
    return this.#pieces.shift()
  }

  /** Moves as much as fits from the pieces that wait to `target`; returns how many bytes. */
  drainInto(target: Uint8Array): number {
    let used = 0
    for (let piece = this.#pieces[0]; piece !== undefined && used < target.length; piece = this.#pieces[0]) {
      const fits = Math.min(piece.length, target.length - used)
      target.set(piece.subarray(0, fits), used)
      used += fits
      if (fits < piece.length) this.#pieces[0] = piece.subarray(fits)
      else this.#pieces.shift()
    }
    return used
  }

  clear(): void {
    this.#pieces.length = 0
    this.#piece = undefined
    this.#used = 0
  }

  #take(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      let piece = this.#piece
      if (piece === undefined || this.#used === piece.length) {
        if (piece !== undefined) this.#pieces.push(piece)
        const least = piece === undefined ? FIRST_PIECE_BYTES : PIECE_BYTES
        piece = new Uint8Array(Math.max(least, Math.min(chunk.length - at, PIECE_BYTES)))
        this.#piece = piece
        this.#used = 0
      }
      const taken = Math.min(chunk.length - at, piece.length - this.#used)
      piece.set(chunk.subarray(at, at + taken), this.#used)
      this.#used += taken
      at += taken
    }
  }
}

/** One array with the bytes of all. */
export function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0
  for (const piece of pieces) length += piece.length
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

/** Reads to the end. Beyond `maxBytes` it leaves the iteration and throws what `tooLong` makes. */
export async function gather(
  pieces: AsyncIterable<Uint8Array>,
  maxBytes: number,
  tooLong: () => Error,
): Promise<Uint8Array<ArrayBuffer>> {
  const kept: Uint8Array[] = []
  let length = 0
  for await (const piece of pieces) {
    length += piece.length
    if (length > maxBytes) throw tooLong()
    kept.push(piece)
  }
  return concat(kept)
}
