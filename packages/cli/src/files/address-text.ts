/** IP addresses with or without a port, as they are typed: `192.0.2.7`, `192.0.2.7:4433`, `2001:db8::7`, `[2001:db8::7]:4433`. */
import { isIP } from 'node:net'

/** Undefined when `text` is none. A port that is not given is undefined. */
export function parseAddress(
  text: string,
): { readonly address: string; readonly port: number | undefined } | undefined {
  if (isIP(text) !== 0) return { address: text, port: undefined }
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/u.exec(text)
  const address = match?.[1] ?? match?.[2] ?? ''
  const port = match?.[3] === undefined ? undefined : Number(match[3])
  if (isIP(address) === 0 || port === 0 || (port ?? 1) > 65_535) return undefined
  return { address, port }
}

/** As in a URL: `192.0.2.7:4433`, `[2001:db8::7]:4433`. */
export function formatEnd(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
