/** Which of the two clients a name on PATH really is: each reads a remote.yaml of its own. */
import { accessSync, closeSync, constants, openSync, readSync, realpathSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'

export const clientNames = ['apptainer', 'singularity'] as const
export type ClientName = (typeof clientNames)[number]

/** The second line of Berth's own wrappers, which are not the program that they stand before. */
const wrapperMark = "# Berth's wrapper of singularity and apptainer"

/**
 * The client behind a name; undefined when there is no such program. Apptainer installs a link called
 * singularity, and reads its own file under that name too.
 */
export function clientBehind(name: ClientName): ClientName | undefined {
  const program = programOf(name)
  if (program === undefined) return undefined
  return basename(program) === 'apptainer' ? 'apptainer' : name
}

/** The real path of what the shell would run, were it not for the wrapper. */
function programOf(name: string): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory === '' ? '.' : directory, name)
    try {
      accessSync(path, constants.X_OK)
      if (!isWrapper(path)) return realpathSync(path)
    } catch {
      continue // not in this directory
    }
  }
  return undefined
}

function isWrapper(path: string): boolean {
  const head = Buffer.alloc(128)
  const file = openSync(path, 'r')
  try {
    const length = readSync(file, head)
    return head.toString('latin1', 0, length).split('\n', 2)[1] === wrapperMark
  } catch {
    return false // a directory
  } finally {
    closeSync(file)
  }
}
