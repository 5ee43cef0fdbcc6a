/** The part of a Markdown file that a command writes. */
import { UserError } from '@quicether/router'

const begin = '<!-- tournament: written by `quicether schedulers bench --write`, from here -->'
const end = '<!-- tournament: to here -->'

/**
 * The text with the part between its markers replaced.
 * @throws UserError `ERR_OPTION` when the markers are not there once each, in order.
 */
export function betweenMarkers(text: string, part: string, file: string): string {
  const from = text.indexOf(begin)
  const to = text.indexOf(end)
  const isOnce = from === text.lastIndexOf(begin) && to === text.lastIndexOf(end)
  if (from < 0 || to < from || !isOnce) {
    throw new UserError('ERR_OPTION', {
      what: 'the file does not have the two markers of the tournament, once each and in order',
      where: file,
      remedy: `Add the lines \`${begin}\` and \`${end}\`.`,
    })
  }
  return `${text.slice(0, from + begin.length)}\n\n${part}\n${text.slice(to)}`
}
