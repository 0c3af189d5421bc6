/** The Node of this run as an archive like those of nodejs.org, for hosts whose own is too old. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { must } from './commands.ts'

export interface NodeArchive {
  /** Its path: `bin/node` in one directory, gzipped. */
  readonly path: string
  /** 64 hexadecimal digits. */
  readonly sha256: string
}

/** Holds the executable alone, so that one that is linked against a shared libnode does not do. */
export async function makeNodeArchive(directory: string): Promise<NodeArchive> {
  const path = join(directory, `node-${process.version}-linux-${process.arch}.tar.gz`)
  const args = [
    '--create',
    '--gzip',
    '--dereference',
    `--file=${path}`,
    '--directory=/',
    `--transform=s,.*,node-${process.version}/bin/node,`,
    process.execPath.slice(1),
  ]
  await must('tar', args, { seconds: 120 })
  const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex')
  return { path, sha256 }
}
