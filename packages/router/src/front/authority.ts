/** Whether a text can be the host and port of a request. */

/** RFC 3986 §3.2.2, without user information. */
export function isAuthority(text: string): boolean {
  return text.length <= 512 && /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{1,5})?$/u.test(text)
}
