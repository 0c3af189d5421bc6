/** What a definition copies into the image: `%files` and `%appfiles`, and images that it begins from. */
import { posix } from 'node:path'

import type { Definition, FileCopy, Section, Stage } from './definition.ts'
import { fields, patternSpace, trim } from './go-text.ts'

/** As `/v1/convert-def-file` shows it: sections with the same argument are one. */
export interface FilesSection {
  /** What stands behind `%files`: empty, or `from STAGE`. */
  readonly args: string
  readonly files: readonly FileCopy[]
}

export function filesOf(definition: Definition): readonly FilesSection[] {
  const sections = new Map<string, FileCopy[]>()
  for (const section of definition.stages.flatMap(({ sections }) => sections)) {
    if (section.name !== 'files') continue
    const files = sections.get(section.argument) ?? []
    // Not spread into arguments, of which there may be too many for a call.
    for (const copy of copiesIn(section)) files.push(copy)
    sections.set(section.argument, files)
  }
  return [...sections].map(([args, files]) => ({ args, files }))
}

/** Where the files of a `%files` section come from; `nowhere` is what the programs pass over. */
export function originOf(
  section: Section,
): { readonly kind: 'host' | 'nowhere' } | { readonly kind: 'stage'; readonly stage: string } {
  const comment = section.argument.indexOf('#')
  const text = comment === -1 ? section.argument : section.argument.slice(0, comment)
  const [, stage, ...rest] = fields(text)
  if (section.name === 'appfiles' || text === '') return { kind: 'host' }
  return stage === undefined || rest.length > 0 ? { kind: 'nowhere' } : { kind: 'stage', stage }
}

export function copiesIn(section: Section): readonly FileCopy[] {
  const split = section.name === 'appfiles' ? splitAppLine : splitFilesLine
  return section.body.flatMap((text, index) => {
    const plain = trim(text)
    if (plain === '' || plain.startsWith('#')) return []
    const [source, destination] = split(plain)
    return [{ source, destination, line: section.line + 1 + index }]
  })
}

/**
 * Files of the submitter that a build needs, as names below `/` without the leading slash, which is
 * what a context calls them: sources of `%files` and `%appfiles`, which may be patterns, and images of
 * `Bootstrap: localimage`. `directory` is where the client was called.
 */
export function contextNamesOf(
  definition: Definition,
  directory: string,
): readonly { readonly name: string; readonly line: number }[] {
  const sources = definition.stages.flatMap((stage) => [
    ...localImagesOf(stage),
    ...hostCopiesOf(stage),
  ])
  return sources
    .filter(({ source }) => source !== '')
    .map(({ source, line }) => ({ name: contextName(source, directory), line }))
}

/** Cleaned lexically as Go's filepath.Abs does it: the root is the empty name. */
export function contextName(path: string, directory: string): string {
  const absolute = posix.isAbsolute(path) ? path : posix.join('/', directory, path)
  return posix.normalize(absolute).replace(/^\/+|\/+$/g, '')
}

function hostCopiesOf(stage: Stage): readonly FileCopy[] {
  return stage.sections
    .filter(({ name }) => name === 'files' || name === 'appfiles')
    .filter((section) => originOf(section).kind === 'host')
    .flatMap(copiesIn)
}

function localImagesOf(
  stage: Stage,
): readonly { readonly source: string; readonly line: number }[] {
  const from = stage.headers.get('from')
  if (stage.headers.get('bootstrap')?.value !== 'localimage' || from === undefined) return []
  return [{ source: from.value, line: from.line }]
}

const braces = new RegExp(`\\{\\{${patternSpace}*\\w+${patternSpace}*\\}+`, 'y')
const gap = new RegExp(patternSpace)

/**
 * Words at white space, where "…" is one word and '…' begins with its quotation mark and ends before
 * the second: the pattern of the programs has no second one. A scanner, because that pattern can be
 * made to take time with the square of the line.
 */
function splitFilesLine(line: string): readonly [string, string] {
  const words: string[] = []
  let at = 0
  while (at < line.length && words.length < 2) {
    const char = line[at] ?? ''
    const end = char === '"' ? line.indexOf('"', at + 1) + 1 : endOfWord(line, at)
    if (gap.test(char) || end === 0 || end === at) {
      at += 1
      continue
    }
    words.push(line.slice(at, end))
    at = end
  }
  const [source = '', destination = ''] = words
  return [unquoted(source), unquoted(destination)]
}

function endOfWord(line: string, start: number): number {
  if (line[start] === "'") {
    const end = line.indexOf("'", start + 1)
    return end === -1 ? line.length : end
  }
  let at = start
  while (at < line.length) {
    const char = line[at] ?? ''
    if (char === '"' || char === "'" || gap.test(char)) return at
    braces.lastIndex = at
    at += char === '{' ? (braces.exec(line)?.[0].length ?? 1) : 1
  }
  return at
}

function splitAppLine(line: string): readonly [string, string] {
  const comment = line.indexOf('#')
  const text = trim(comment === -1 ? line : line.slice(0, comment))
  const space = text.indexOf(' ')
  return space === -1 ? [text, text] : [text.slice(0, space), text.slice(space + 1)]
}

/** strings.Trim(trim(word), `"`). */
function unquoted(word: string): string {
  return trim(word)
    .replace(/^"+/, '')
    .replace(/(?<!")"+$/, '')
}
