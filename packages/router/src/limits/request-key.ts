/** What tells requests apart for limits and hashing: the client's address, a field, a cookie… */
import type { HeaderList } from '../exchange.ts'
import { hostOf } from '../routing/match.ts'

export interface KeyedRequest {
  readonly client: string
  readonly authority: string
  readonly path: string
  readonly headers: HeaderList
}

/** Longer values are cut: a key must not be a way to fill memory. */
const keyLengthMax = 256

/** `key` as in the configuration. Requests without the field or cookie share the empty key. */
export function keyOf(key: string, request: KeyedRequest): string {
  return partOf(key, request).slice(0, keyLengthMax)
}

function partOf(key: string, request: KeyedRequest): string {
  if (key === 'address') return addressKey(request.client)
  if (key === 'path') return request.path
  if (key === 'host') return hostOf(request.authority)
  const [kind, name = ''] = key.split(':')
  if (kind === 'header') return request.headers.find(([field]) => field === name)?.[1] ?? ''
  for (const [field, value] of request.headers) {
    if (field !== 'cookie') continue
    for (const pair of value.split(';')) {
      const at = pair.indexOf('=')
      if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
    }
  }
  return ''
}

/** IPv6 clients own a /64 each: the first four groups are the key. */
function addressKey(address: string): string {
  if (!address.includes(':') || address.includes('.')) return address
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const groups = head.split(':')
  if (tail !== undefined) {
    const after = tail === '' ? [] : tail.split(':')
    while (groups.length + after.length < 8) groups.push('0')
    groups.push(...after)
  }
  return groups
    .slice(0, 4)
    .map((group) => (group === '' ? '0' : group.toLowerCase()))
    .join(':')
}
