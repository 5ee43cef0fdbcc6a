/** Reading captures: pcapng and key logs back into packets and frames, of every path. */
export { CaptureDecoder, type CaptureDecoderOptions, type CaptureTotals } from './capture-decoder.ts'
export { CaptureError } from './capture-error.ts'
export type { DecodedPacket, PacketKind, Problem } from './decoded-packet.ts'
