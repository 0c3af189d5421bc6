/** The files that builds have besides their images, for a backup and for the check of the files. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'

export interface BuildFile {
  readonly id: string
  /** What the row says; an output may be longer on the disk by what its row does not know yet. */
  readonly size: number
}

/** Below `<data>/builds`; contexts.ts and output-files.ts put them there. */
export function contextPath(id: string): string {
  return `contexts/${id}.tar.gz`
}

export function outputPath(id: string): string {
  return `output/${id.slice(0, 2)}/${id}.log`
}

export async function listContextFiles(db: Db): Promise<BuildFile[]> {
  return await db.query<BuildFile>(
    sql`select id, size from build_contexts where uploaded_at is not null order by id`,
  )
}

export async function listOutputFiles(db: Db): Promise<BuildFile[]> {
  return await db.query<BuildFile>(
    sql`select id, output_bytes as "size" from builds where output_bytes > 0 order by id`,
  )
}

/** After a restore: what ended while the backup was made, so that its file is in none. */
export async function forgetBuildFiles(
  tx: Db,
  gone: { readonly contexts: readonly string[]; readonly outputs: readonly string[] },
): Promise<void> {
  await tx.query(sql`
    update build_contexts set uploaded_at = null where id = any(${[...gone.contexts]})`)
  await tx.query(sql`update builds set output_bytes = 0 where id = any(${[...gone.outputs]})`)
}
