/** Names of the policies for the path that carries acknowledgments (RFC 10069 §5.5). */

/**
 * - `same`: acknowledgments travel on the path they are about. Each path measures itself, a congested one harms no other.
 * - `fastest`: on the validated, answering path with the lowest round-trip time: shorter control loops for slow paths.
 * - `any`: with whatever packet leaves first; when none does, on the fastest.
 */
export const ackPaths = ['same', 'fastest', 'any'] as const
export type AckPath = (typeof ackPaths)[number]
