/** Sizes that the multipath cases share. */

export const MIB = 1_048_576
/**
 * Bytes that a backup path may carry beside 2 MiB: a busy machine delays acknowledgments beyond the probe timeout, and then
 * the backup rightly steps in until they come.
 */
export const QUIET_BYTES_MAX = 400_000
export const QUIET_ROUNDS_MAX = 4
