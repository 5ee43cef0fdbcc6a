/** Text from strangers, made safe for terminals, logs and reports. */

/** At most `charactersMax` characters, control characters (which could steer a terminal) replaced by "?". */
export function printable(text: string, charactersMax: number): string {
  const short = text.length > charactersMax ? `${text.slice(0, charactersMax - 1)}…` : text
  return short.replace(/\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}/gu, '?')
}
