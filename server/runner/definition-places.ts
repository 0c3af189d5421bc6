/**
 * Puts what a definition names where the sandbox has it: files of the build context below
 * /build/context, and this endpoint's library and registry behind the door. Nothing else of the text
 * changes, and no line moves, so that numbers in messages stay right. A line that is not understood
 * stays as it is: what it names is not there.
 */
import { posix } from 'node:path'

export interface Places {
  /** The directory of the submitter, against which relative names stand; inside the context. */
  readonly workingDir: string
  /** Host (and port) of this endpoint's registry, and the address of its library. */
  readonly registryHost: string
  readonly libraryUrl: string
  /** What stands for both inside: "127.0.0.1:3128". */
  readonly door: string
}

const contextDirectory = '/build/context'

/** The directory inside that relative names of the definition stand against. */
export function insideWorkingDirectory(workingDir: string): string {
  return contextDirectory + posix.resolve('/', workingDir)
}

export function placeDefinition(definition: string, places: Places): string {
  let section = ''
  let bootstrap = ''
  return definition
    .split('\n')
    .map((line) => {
      const header = /^\s*([A-Za-z]+)\s*:\s*(.*?)\s*$/.exec(line)
      if (header?.[1]?.toLowerCase() === 'bootstrap') {
        section = ''
        bootstrap = header[2]?.toLowerCase() ?? ''
        return line
      }
      const opened = /^%(\S+)\s*(.*)$/.exec(line)
      if (opened) section = `${opened[1]?.toLowerCase()} ${opened[2]?.trim()}`
      if (opened) return line
      if (section === '' && header) return placeHeader(line, bootstrap, header, places)
      return /^(files|appfiles \S+)\s*$/.test(section) || section === 'files '
        ? placeFile(line)
        : line
    })
    .join('\n')
}

function placeHeader(
  line: string,
  bootstrap: string,
  [, name = '', value = '']: RegExpExecArray,
  places: Places,
): string {
  const key = name.toLowerCase()
  if (key === 'from' && bootstrap === 'localimage' && value.startsWith('/')) {
    return `From: ${contextDirectory}${posix.resolve('/', value)}`
  }
  if (key === 'from' && (bootstrap === 'docker' || bootstrap === 'oras')) {
    const path = value.replace(/^\/\//, '')
    if (path.toLowerCase().startsWith(`${places.registryHost}/`)) {
      return `From: ${places.door}${path.slice(places.registryHost.length)}`
    }
  }
  if (key === 'from' && bootstrap === 'library') {
    const [, host, rest] = /^(?:library:)?\/\/([^/]+)\/([^/]+\/[^/]+\/.+)$/.exec(value) ?? []
    if (host?.toLowerCase() === new URL(places.libraryUrl).host) return `From: ${rest}`
  }
  if (
    key === 'registry' &&
    value.replace(/^https?:\/\//, '').toLowerCase() === places.registryHost
  ) {
    return `Registry: ${places.door}`
  }
  if (key === 'library' && value.replace(/\/+$/, '') === places.libraryUrl) {
    return `Library: http://${places.door}`
  }
  return line
}

/** "source [destination]": an absolute source gets its place, and keeps its name as destination. */
function placeFile(line: string): string {
  const match = /^(\s*)("(?:[^"]*)"|\S+)(?:\s+(\S.*))?$/.exec(line)
  const [, indent = '', word = '', destination] = match ?? []
  const source = word.replace(/^"|"$/g, '')
  if (!source.startsWith('/')) return line
  const placed = `${contextDirectory}${posix.resolve('/', source)}`
  const quoted = word.startsWith('"') ? `"${placed}"` : placed
  return `${indent}${quoted} ${destination ?? globTarget(source, word)}`
}

/** Without a destination a file keeps its own name; those of a pattern, their directory. */
function globTarget(source: string, word: string): string {
  return /[*?[]/.test(source) ? `${posix.dirname(source)}/` : word
}
