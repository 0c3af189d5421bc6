/**
 * The clients' list of endpoints (apptainer and singularity, internal/pkg/remote): `Active` names
 * one of `Remotes`, each with `URI` and `Token`. `remote add` strips the scheme and cannot keep a
 * port; an entry with a full URI, and `Insecure: true` for plain http, works (protocol.md 1.2).
 */
import { mkdir, readFile, realpath } from 'node:fs/promises'
import { dirname } from 'node:path'

import { isMap, parseDocument } from 'yaml'
import type { Document, YAMLMap } from 'yaml'

import { CommandError } from './exit.ts'
import { printable } from './printable.ts'
import { replaceFile } from './replace-file.ts'

export interface WrittenRemote {
  /** What was active before; undefined when nothing else was. */
  readonly formerlyActive: string | undefined
  /** The entry was there with the same address, and its token stays. */
  readonly hasToken: boolean
}

/** Writes or changes one entry and makes it active; everything else in the file stays. */
export async function writeRemote(file: string, name: string, url: URL): Promise<WrittenRemote> {
  const document = await readRemotes(file)
  const before = document.get('Active')
  document.set('Active', name)
  const remotes = mapAt(file, document, ['Remotes'])
  refuseAdministrated(file, name, remotes)
  const entry = mapAt(file, document, ['Remotes', name])
  const uri = uriOf(url)
  // A token belongs to the endpoint that it was made for.
  if (entry.get('URI') !== uri) entry.delete('Token')
  entry.set('URI', uri)
  entry.set('System', false)
  entry.set('Exclusive', false)
  // Clients before SingularityCE 3.9 and Apptainer 1.1 refuse a file that has this key.
  if (url.protocol === 'http:') entry.set('Insecure', true)
  else entry.delete('Insecure')
  await replaceOwnFile(file, document.toString({ lineWidth: 0 }))
  return {
    formerlyActive: typeof before === 'string' && before !== name ? before : undefined,
    hasToken: entry.has('Token'),
  }
}

/** The form in which the clients take the address. */
export function uriOf(url: URL): string {
  if (url.protocol === 'http:') return url.origin
  return url.port === '' ? url.hostname : `//${url.host}`
}

async function readRemotes(file: string): Promise<Document> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  const document = parseDocument(text)
  const [problem] = document.errors
  if (problem !== undefined) throw notValid(file, problem.message.replace(/:?\n[^]*$/, ''))
  if (document.contents !== null && !isMap(document.contents)) {
    throw notValid(file, 'it is not a list of settings')
  }
  return document
}

/** The mapping at this place, made when there is nothing. */
function mapAt(file: string, document: Document, place: readonly string[]): YAMLMap {
  const present = document.getIn(place)
  if (isMap(present)) {
    // Go writes an empty one as {}; what is put into it stands on lines of its own.
    if (present.items.length === 0) present.flow = false
    return present
  }
  if (present !== undefined && present !== null) {
    throw notValid(file, `${place.join('.')} is not a list of settings`)
  }
  const made = document.createNode({}) as YAMLMap
  document.setIn(place, made)
  return made
}

function notValid(file: string, what: string): CommandError {
  const text = `${file} is not valid (${printable(what)}): mend it or move it away first. Nothing was written.`
  return new CommandError(text)
}

/** What comes from the host's own remote.yaml (`System`) the clients compare with it each time. */
function refuseAdministrated(file: string, name: string, remotes: YAMLMap): void {
  for (const { key, value } of remotes.items) {
    if (!isMap(value)) continue
    const other = String(key)
    if (other === name && value.get('System') === true) {
      throw new CommandError(
        `The administrators of this host provide "${name}" already: choose it with "remote use ${name}", or give this one another name.`,
      )
    }
    if (other !== name && value.get('Exclusive') === true) {
      throw new CommandError(
        `In ${file} the administrators of this host allow "${printable(other)}" only (Exclusive): ask them. Nothing was written.`,
      )
    }
  }
}

/** The file holds tokens: its directory and itself are for its owner alone. */
async function replaceOwnFile(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  // Where it is a link to somebody's collection of settings, it stays one.
  const target = await realpath(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return file
    throw error
  })
  await replaceFile(target, text, 0o600)
}
