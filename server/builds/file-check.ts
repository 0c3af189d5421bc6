/** The files that builds have besides their images, against the rows that name them. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'

import type { Db } from '../database.ts'
import { contextPath, listContextFiles, listOutputFiles, outputPath } from './inventory.ts'
import type { BuildFile } from './inventory.ts'

export interface BuildFileProblem {
  readonly kind: 'build-output' | 'build-context'
  readonly subject: string
  readonly problem: string
}

type List = (db: Db) => Promise<readonly BuildFile[]>
type Place = (id: string) => string

/** `directory` is `<data>/builds`. What ends while it is looked at is no problem: rows are asked twice. */
export async function listBuildFileProblems(
  db: Db,
  directory: string,
): Promise<BuildFileProblem[]> {
  const look = async (
    kind: BuildFileProblem['kind'],
    list: List,
    place: Place,
  ): Promise<BuildFileProblem[]> => {
    const suspects = await shorter(directory, await list(db), place)
    if (suspects.length === 0) return []
    const known = new Set((await list(db)).map(({ id }) => id))
    return suspects
      .filter(({ id }) => known.has(id))
      .map(({ id, size }) => ({
        kind,
        subject: id,
        problem: `${join(directory, place(id))} is not there with its ${size} bytes`,
      }))
  }
  return [
    ...(await look('build-output', listOutputFiles, outputPath)),
    ...(await look('build-context', listContextFiles, contextPath)),
  ]
}

async function shorter(
  directory: string,
  files: readonly BuildFile[],
  place: Place,
): Promise<BuildFile[]> {
  const found: BuildFile[] = []
  for (const file of files) {
    const size = await stat(join(directory, place(file.id))).then(
      (there) => there.size,
      () => -1,
    )
    if (size < file.size) found.push(file)
  }
  return found
}
