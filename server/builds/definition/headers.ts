/** The lines above the first section of a stage: `Name: value`. */
import type { Header } from './definition.ts'
import { cut, trim } from './go-text.ts'
import { shown } from './problems.ts'
import type { Problems } from './problems.ts'

const known = new Set([
  'bootstrap',
  'from',
  'includecmd',
  'mirrorurl',
  'updateurl',
  'osversion',
  'include',
  'library',
  'registry',
  'namespace',
  'stage',
  'product',
  'user',
  'regcode',
  'productpgp',
  'registerurl',
  'modules',
  'fingerprints',
  'confurl',
  'setopt',
])

/** A value that goes on in the next line. */
interface Unfinished {
  readonly name: string
  readonly value: string
  readonly line: number
}

export function readHeaders(
  lines: readonly string[],
  firstLine: number,
  faults: Problems,
): ReadonlyMap<string, Header> {
  const headers = new Map<string, Header>()
  let open: Unfinished | undefined
  for (const [index, text] of lines.entries()) {
    const line = firstLine + index
    const [beforeComment] = cut(trim(text), '#')
    if (beforeComment === '') {
      if (open !== undefined) faults.add(open.line, endless(open))
      open = undefined
      continue
    }
    const current =
      open === undefined ? startOf(beforeComment, line, faults) : joined(open, beforeComment)
    open = undefined
    if (current === undefined) continue
    if (current.value.endsWith('\\')) {
      open = { ...current, value: continued(current.value.slice(0, -1)) }
      // The programs take the next line for a header of its own then.
      if (open.value === '') {
        faults.add(open.line, endless(open))
        open = undefined
      }
      continue
    }
    if (!isKnown(current.name)) {
      faults.add(current.line, `There is no header "${shown(current.name)}".`)
      continue
    }
    headers.set(current.name, { value: current.value, line: current.line })
  }
  if (open !== undefined) faults.add(open.line, endless(open))
  return headers
}

function startOf(text: string, line: number, faults: Problems): Unfinished | undefined {
  const [name, value] = cut(text, ':')
  if (value !== undefined) return { name: trim(name).toLowerCase(), value: trim(value), line }
  const message = /^(?:FROM|ARG|RUN)[ \t]/.test(text)
    ? 'This is a Dockerfile, not a definition file: a definition file begins with "Bootstrap: docker" and "From: IMAGE".'
    : `"${shown(text)}" is no header: write "Name: value", and begin sections with a percent sign.`
  faults.add(line, message)
  return undefined
}

function joined(open: Unfinished, text: string): Unfinished {
  return { ...open, value: open.value + trim(text) }
}

/** `\n` before the backslash that continues is a line break in the value. */
function continued(value: string): string {
  return value.endsWith('\\n') ? `${value.slice(0, -2)}\n` : value
}

function isKnown(name: string): boolean {
  return known.has(name) || /^otherurl\d+$/.test(name)
}

function endless({ name }: Unfinished): string {
  return `The value of "${shown(name)}" ends in a backslash, and the next line does not continue it.`
}
