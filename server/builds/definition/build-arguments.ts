/**
 * `{{ name }}` in a definition, as internal/pkg/build/args replaces it: in each stage by what was
 * given for the build, else by what the stage's own `%arguments` says.
 */
import type { Problem, Stage } from './definition.ts'
import { cut, patternSpace, trim } from './go-text.ts'
import { shown } from './problems.ts'
import type { Problems } from './problems.ts'
import type { Piece } from './sections.ts'

const placeholder = new RegExp(`\\{\\{${patternSpace}*(\\w+)${patternSpace}*\\}\\}`, 'g')

/** Of one value with those that it names. The longest line that the programs read is shorter. */
const maxValueLength = 64 * 1024

export type BuildArguments = Readonly<Record<string, string>>

/** What `%arguments` of a stage says; lines that are no `name=value` are passed over with a warning. */
export function defaultArguments(stage: Stage): ReadonlyMap<string, string> {
  const lines = stage.sections
    .filter(({ name }) => name === 'arguments')
    .flatMap(({ body }) => body.map(trim))
    .filter((text) => text !== '' && !text.startsWith('#'))
  const defaults = new Map<string, string>()
  for (const text of lines) {
    const [name, value] = cut(text, '=')
    if (value !== undefined && trim(name) !== '') defaults.set(trim(name), trim(value))
  }
  return defaults
}

/**
 * Keeps the number of lines: a value is one line. Adds the names that it replaced to `used`. The result
 * has at most `limit` characters, or there is a fault.
 */
export function replaceArguments(
  piece: Piece,
  given: BuildArguments,
  defaults: ReadonlyMap<string, string>,
  limit: number,
  used: Set<string>,
  faults: Problems,
): Piece {
  const values = new Map<string, string | undefined>()
  const valueOf = (name: string): string | undefined => {
    if (!values.has(name)) values.set(name, nested(name, given, defaults))
    return values.get(name)
  }
  let length = 0
  const lines: string[] = []
  for (const [index, text] of piece.lines.entries()) {
    const line = piece.line + index
    const replaced = replaceInLine(text, limit - length, (name) => {
      const value = valueOf(name)
      if (value === undefined) {
        const message = `The build argument "${shown(name)}" has no value: say --build-arg ${shown(name)}=VALUE, or give it one in %arguments.`
        faults.add(line, message)
        return ''
      }
      used.add(name)
      return value
    })
    if (replaced === undefined) {
      faults.add(line, 'With its build arguments the definition is larger than 1 MiB.')
      return { line: piece.line, lines }
    }
    length += replaced.length + 1
    lines.push(replaced)
  }
  return { line: piece.line, lines }
}

/** Undefined when the line would be longer than `limit`. */
function replaceInLine(
  text: string,
  limit: number,
  valueOf: (name: string) => string,
): string | undefined {
  let result = ''
  let done = 0
  let comment = commentFrom(text, 0)
  for (const match of text.matchAll(placeholder)) {
    // What stands behind a comment's sign, and a character that is no exclamation mark, stays.
    if (comment !== -1 && comment + 1 < match.index) break
    result += text.slice(done, match.index) + valueOf(match[1] ?? '')
    done = match.index + match[0].length
    if (comment !== -1 && comment < done) comment = commentFrom(text, done)
    if (result.length > limit) return undefined
  }
  result += text.slice(done)
  return result.length > limit ? undefined : result
}

function commentFrom(text: string, start: number): number {
  let at = text.indexOf('#', start)
  while (at !== -1 && text[at + 1] === '!') at = text.indexOf('#', at + 1)
  return at
}

/** A value may name others, whose own placeholders stay as they are. */
function nested(
  name: string,
  given: BuildArguments,
  defaults: ReadonlyMap<string, string>,
): string | undefined {
  const plain = (name: string): string | undefined =>
    Object.hasOwn(given, name) ? given[name] : defaults.get(name)
  const value = plain(name)
  if (value === undefined) return undefined
  let length = value.length
  return value.replace(placeholder, (text, inner: string) => {
    const found = plain(inner)
    if (found === undefined || length + found.length > maxValueLength) return text
    length += found.length
    return found
  })
}

/** A placeholder over two lines; the programs would take it, and every line after it gets another number. */
export function brokenPlaceholder(piece: Piece): Problem | undefined {
  const text = piece.lines.join('\n')
  const match = text.match(placeholder)?.find((match) => match.includes('\n'))
  if (match === undefined) return undefined
  const line = piece.line + text.slice(0, text.indexOf(match)).split('\n').length - 1
  return { line, message: 'Write a build argument and its braces on one line.' }
}
