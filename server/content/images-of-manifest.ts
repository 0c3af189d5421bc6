import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { ManifestDocument } from './manifest-document.ts'
import type { Digest } from './names.ts'

/** The SIF images that a tag on this manifest gives to the library, by architecture. */
export async function imagesIn(
  tx: Db,
  repositoryId: number,
  digest: Digest,
  document: ManifestDocument,
): Promise<ReadonlyMap<string, Digest>> {
  const wanted = document.isIndex ? document.parts.map((part) => part.digest) : [digest]
  const rows = await tx.query<{ digest: Digest; arch: string | null }>(sql`
    select m.digest, f.arch from manifests m join sif_facts f on f.digest = m.sif_digest
    where m.repository_id = ${repositoryId} and m.digest = any(${wanted})`)
  const archs = new Map(rows.map((row) => [row.digest, row.arch ?? '']))
  const images = new Map<string, Digest>()
  for (const one of wanted) {
    const arch = archs.get(one)
    if (arch !== undefined && !images.has(arch)) images.set(arch, one)
  }
  return images
}
