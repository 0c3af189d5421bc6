/** A definition file cut into stages, headers and sections, as pkg/build/types/parser does it. */
import type { Header, Section, Stage } from './definition.ts'
import { cut, trim } from './go-text.ts'
import { readHeaders } from './headers.ts'
import { shown } from './problems.ts'
import type { Problems } from './problems.ts'

/** Its programs read a section through a buffer of this many bytes, and refuse one that is longer. */
const maxSectionBytes = 64 * 1024 - 1
/** Of one stage. The programs have no limit. */
const maxSections = 1000

const scripts = [
  'help',
  'setup',
  'files',
  'labels',
  'environment',
  'pre',
  'post',
  'runscript',
  'test',
  'startscript',
  'arguments',
]
const ofApps = [
  'appinstall',
  'applabels',
  'appfiles',
  'appenv',
  'apptest',
  'apphelp',
  'apprun',
  'appstart',
]
const known = new Set([...scripts, ...ofApps])

const nothingAbove =
  'There is nothing above and in this section: a definition begins with "Bootstrap:".'

/** Lines of the file that belong together, and the number of the first. */
export interface Piece {
  readonly line: number
  readonly lines: readonly string[]
}

/**
 * The stages as text. Any line that begins with `Bootstrap:` begins one, also in the middle of a
 * script. `s` is folded with U+017F there, which is what the flags do.
 */
export function splitStages(piece: Piece): readonly Piece[] {
  const starts = piece.lines.flatMap((line, index) =>
    index > 0 && /^bootstrap:/iu.test(line) ? [index] : [],
  )
  return [0, ...starts].map((start, index) => ({
    line: piece.line + start,
    lines: piece.lines.slice(start, starts[index]),
  }))
}

/** Undefined for a piece without anything in it, such as the comments above the first header. */
export function readStage(piece: Piece, faults: Problems): Stage | undefined {
  const lines = piece.lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line))
  const starts = lines.flatMap((line, index) => (trim(line).startsWith('%') ? [index] : []))
  const head = lines.slice(0, starts[0])
  const readable = withinBuffer(head)
  if (readable.length < head.length) faults.add(piece.line, tooLong('The header is'))
  const headers = readHeaders(readable, piece.line, faults)
  if (starts.length > maxSections)
    faults.add(piece.line, `There are more than ${maxSections} sections.`)
  const sections = starts.slice(0, maxSections).map((start, index) => {
    const body = lines.slice(start + 1, starts[index + 1])
    const title = lines[start] ?? ''
    if (start > 0) return readSection(title, body, piece.line + start, faults)
    // The programs trim what they read first, be it headers or a section.
    if (body.every((line) => trim(line) === '')) faults.add(piece.line, nothingAbove)
    return readSection(title.slice(title.indexOf('%')), body, piece.line, faults)
  })
  const isEmpty = headers.size === 0 && sections.every(isSilent)
  if (isEmpty) return undefined
  return { line: firstLine(headers, sections, piece.line), headers, sections }
}

function readSection(
  title: string,
  body: readonly string[],
  line: number,
  faults: Problems,
): Section {
  const [word, argument = ''] = cut(title.replace(/^%+/, ''), ' ')
  const name = word.toLowerCase()
  if (!known.has(name)) {
    faults.add(line, unknownSection(title))
  } else if (ofApps.includes(name) && trim(argument) === '') {
    faults.add(line, `"%${name}" needs the name of an app behind it.`)
  }
  const readable = withinBuffer(body)
  if (readable.length < body.length) faults.add(line, tooLong(`The section "${shown(title)}" is`))
  return { name, argument, line, body: readable }
}

function unknownSection(title: string): string {
  const text = trim(title)
  const name = (/^%+([a-z]*)/i.exec(text)?.[1] ?? '').toLowerCase()
  if (!known.has(name)) {
    return `There is no section "${shown(text)}"; a line of a script must not begin with a percent sign.`
  }
  return text === title
    ? `"${shown(text)}" is not understood: behind "%${name}" goes a space or nothing.`
    : `The programs do not know the section "%${name}" with white space before it: begin the line with "%${name}".`
}

function isSilent({ name, argument, body }: Section): boolean {
  if (name === 'files') return false
  return known.has(name) && argument === '' && body.every((line) => trim(line) === '')
}

function firstLine(
  headers: ReadonlyMap<string, Header>,
  sections: readonly Section[],
  otherwise: number,
): number {
  const lines = [...headers.values(), ...sections].map(({ line }) => line)
  return lines.reduce((first, line) => Math.min(first, line), lines[0] ?? otherwise)
}

/** All lines, or those that come before the one that is too much. */
function withinBuffer(lines: readonly string[]): readonly string[] {
  let bytes = 0
  const end = lines.findIndex((line) => (bytes += Buffer.byteLength(line) + 1) > maxSectionBytes)
  return end === -1 ? lines : lines.slice(0, end)
}

function tooLong(what: string): string {
  return `${what} longer than 64 KiB, which the programs do not read: put long texts into a file of %files.`
}
