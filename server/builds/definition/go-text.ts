/**
 * Text as the programs handle it, which are written in Go: other white space than JavaScript's.
 * A file that is read differently here and there could be checked as one thing and built as another.
 */

/** What Go's unicode.IsSpace takes; JavaScript has U+FEFF besides, and has not U+0085. */
const space = '\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000'
const words = new RegExp(`[^${space}]+`, 'g')

/** What `\s` means in a regular expression of Go. */
export const patternSpace = '[\\t\\n\\f\\r ]'

/** strings.TrimSpace. Two walks, because a pattern for the end would try from every white space. */
export function trim(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start += 1
  while (end > start && isSpace(text.charCodeAt(end - 1))) end -= 1
  return text.slice(start, end)
}

/** strings.Fields. */
export function fields(text: string): readonly string[] {
  return text.match(words) ?? []
}

function isSpace(code: number): boolean {
  if (code < 0x80) return code === 0x20 || (code >= 0x09 && code <= 0x0d)
  if (code >= 0x2000 && code <= 0x200a) return true
  return [0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000].includes(code)
}

/** strings.SplitN(text, separator, 2): the second part is undefined without a separator. */
export function cut(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator)
  if (at === -1) return [text, undefined]
  return [text.slice(0, at), text.slice(at + separator.length)]
}
