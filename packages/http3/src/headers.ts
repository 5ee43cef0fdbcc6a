/**
 * Field lines as the package represents them: ordered pairs of strings whose characters are bytes (U+0000 to U+00FF,
 * "latin1"). A proxy can thus pass on any byte it was given; text beyond latin1 must be encoded by the caller, as the
 * UTF-8 bytes of `encodeFieldText` or by percent-encoding.
 */

/** `[name, value]`; names in lower case. */
export type HeaderLine = readonly [string, string]
export type HeaderList = readonly HeaderLine[]

/** First value of a field, or undefined. `name` in lower case. */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  for (const line of headers) if (line[0] === name) return line[1]
  return undefined
}

/** All values of a field, in order. */
export function headerValues(headers: HeaderList, name: string): string[] {
  const values: string[] = []
  for (const line of headers) if (line[0] === name) values.push(line[1])
  return values
}

/** Size of a field section as RFC 9114 §4.2.2 counts it: bytes of names and values, and 32 for each line. */
export function fieldSectionBytes(headers: HeaderList): number {
  let bytes = 0
  for (const line of headers) bytes += line[0].length + line[1].length + 32
  return bytes
}

/** Unicode text as a field value: its UTF-8 bytes, one per character. */
export function encodeFieldText(text: string): string {
  const bytes = new TextEncoder().encode(text)
  let value = ''
  for (const byte of bytes) value += String.fromCharCode(byte)
  return value
}

/** Reverse of `encodeFieldText`; invalid UTF-8 becomes U+FFFD. */
export function decodeFieldText(value: string): string {
  const bytes = new Uint8Array(value.length)
  for (let i = 0; i < value.length; i++) bytes[i] = value.charCodeAt(i)
  return new TextDecoder().decode(bytes)
}
