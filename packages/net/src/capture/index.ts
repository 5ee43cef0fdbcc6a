/** Packet capture and key log of the network layer. */
export { BoundedFile, type BoundedFileOptions, boundedFileDefaults } from './bounded-file.ts'
export { KeylogFile, type KeylogFileOptions, keylogPath, normalizeKeylogLine } from './keylog-file.ts'
export { type PcapngOptions, PcapngWriter, pcapngDefaults } from './pcapng-writer.ts'
export type { DatagramDirection, DatagramTap } from './tap.ts'
