/**
 * Definition files, read as Apptainer and SingularityCE read them (pkg/build/types/parser and
 * internal/pkg/build/args): what they refuse is a fault with its line, and what they take in an
 * unexpected way is taken so here. Pure; time and memory grow with the text, which is at most 1 MiB.
 */
import { brokenPlaceholder, defaultArguments, replaceArguments } from './build-arguments.ts'
import type { BuildArguments } from './build-arguments.ts'
import type { Definition, Problem, Stage } from './definition.ts'
import { Problems, shown } from './problems.ts'
import { readStage, splitStages } from './sections.ts'
import type { Piece } from './sections.ts'

/** In bytes. */
const maxDefinitionBytes = 1024 * 1024
/** Long ones have hundreds; a file of nothing but ends of lines would keep the process busy. */
const maxLines = 50_000
/** The programs have no limit; each stage is an image that is unpacked. */
const maxStages = 50

/**
 * Never throws: what is wrong is in `faults`. Bytes must be UTF-8. `buildArguments` are those of the
 * submission; each must be used, as the programs demand.
 */
export function parseDefinition(
  source: string | Uint8Array,
  buildArguments: BuildArguments = {},
): Definition {
  const text = textOf(source)
  if (typeof text !== 'string') return { stages: [], faults: [text], text: '' }
  const file: Piece = { line: 1, lines: text.split('\n') }
  const faults = new Problems()
  faults.addAll(argumentFaults(buildArguments))
  if (file.lines.length > maxLines) faults.add(0, `The definition has more than ${maxLines} lines.`)
  const pieces = splitStages(file)
  if (pieces.length > maxStages + 1) {
    faults.add(0, `The definition has more than ${maxStages} stages.`)
  }
  if (!faults.isEmpty) return { stages: [], faults: faults.list(), text: '' }
  const used = new Set<string>()
  // Values can name each other and themselves be used again and again.
  let left = maxDefinitionBytes
  const stages: Stage[] = []
  const lines: string[] = []
  for (const piece of pieces) {
    // Read once as it stands, for its arguments, and again with the values in their places.
    const before = readStage(piece, faults)
    if (before === undefined) {
      for (const line of piece.lines) lines.push(line)
      continue
    }
    const broken = brokenPlaceholder(piece)
    if (broken !== undefined) faults.add(broken.line, broken.message)
    const defaults = defaultArguments(before)
    const filled = replaceArguments(piece, buildArguments, defaults, left, used, faults)
    for (const line of filled.lines) {
      left -= line.length + 1
      lines.push(line)
    }
    // A value that looks like a header begins no stage.
    const stage = readStage(filled, faults)
    if (stage !== undefined) stages.push(stage)
  }
  if (stages.length === 0 && faults.isEmpty) {
    faults.add(0, 'The definition is empty: it begins with "Bootstrap:".')
  }
  for (const name of Object.keys(buildArguments)) {
    if (used.has(name) || !faults.isEmpty) continue
    const message = `The definition does not use the build argument "${shown(name)}".`
    faults.add(0, message)
  }
  return { stages, faults: faults.list(), text: faults.isEmpty ? lines.join('\n') : '' }
}

function textOf(source: string | Uint8Array): string | Problem {
  const bytes = typeof source === 'string' ? Buffer.byteLength(source) : source.byteLength
  if (bytes > maxDefinitionBytes) {
    return {
      line: 0,
      message: 'The definition is larger than 1 MiB: put what is large into files of %files.',
    }
  }
  const text = typeof source === 'string' ? source : decode(source)
  if (text === undefined) {
    return { line: 0, message: 'This is not a definition file: it is no text in UTF-8.' }
  }
  const zero = text.indexOf('\0')
  if (zero !== -1) {
    const line = text.slice(0, zero).split('\n').length
    return { line, message: 'This is not a definition file: there is a zero byte in it.' }
  }
  return text
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

function argumentFaults(given: BuildArguments): Problem[] {
  return Object.entries(given).flatMap(([name, value]) => {
    if (!/^\w+$/.test(name)) {
      return [
        {
          line: 0,
          message: `"${shown(name)}" cannot be the name of a build argument: use letters, digits and _.`,
        },
      ]
    }
    // oxlint-disable-next-line no-control-regex -- a line break or a zero byte would move the lines
    if (!/[\u0000\n\r]/.test(value)) return []
    return [
      { line: 0, message: `The value of the build argument "${shown(name)}" must be one line.` },
    ]
  })
}
