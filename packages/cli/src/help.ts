/** Examples at the end of a command's help. */

/** One line each, as they would be typed. */
export function examples(lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`
}
