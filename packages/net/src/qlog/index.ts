/** qlog files of the network layer. */
export { FrameJson } from './frame-json.ts'
export { QlogDirectory, type QlogDirectoryOptions, qlogDefaults } from './qlog-directory.ts'
export { type QlogOpener, QlogWriter, type QlogWriterOptions } from './qlog-writer.ts'
