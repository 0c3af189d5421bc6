/** A database of the version before the registry, brought up to today's. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { openDatabase, sql } from '../../server/database.ts'
import type { Database } from '../../server/database.ts'
import { createLog } from '../../server/log.ts'
import { migrate } from '../../server/migrate.ts'
import { packageRoot } from '../../server/package-root.ts'
import { createTestDatabase } from '../support/postgres.ts'

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'

test('tags with several architectures get the index that the registry shows', async (t) => {
  const made = await createTestDatabase()
  const database = openDatabase({ url: made.url }, createLog('silent'))
  t.after(async () => {
    await database.close()
    await made.drop()
  })
  await migrateTo(database, '0002')
  await database.query(sql`insert into entities (name) values ('old')`)
  await database.query(
    sql`insert into collections (entity_id, name) select id, 'demo' from entities`,
  )
  await database.query(sql`
    insert into repositories (collection_id, entity_id, name, path)
    select id, entity_id, 'tool', 'old/demo/tool' from collections`)
  const digests = new Map<string, string>()
  for (const arch of ['arm64', 'amd64', '']) {
    const bytes = Buffer.from(`a manifest of ${arch}`)
    const digest = digestOf(bytes)
    digests.set(arch, digest)
    await database.query(sql`
      insert into manifests (repository_id, digest, media_type, bytes)
      select id, ${digest}, ${manifestType}, ${bytes} from repositories`)
  }
  const tag = async (name: string, arch: string): Promise<void> => {
    await database.query(sql`
      insert into tags (repository_id, name, arch, manifest_digest)
      select id, ${name}, ${arch}, ${digests.get(arch)} from repositories`)
  }
  await tag('latest', 'arm64')
  await tag('latest', 'amd64')
  await tag('v1', 'arm64')
  await tag('odd', '')

  const added = await migrate(database)
  assert.ok(added.includes('0003-oci.sql'))

  const manifests = ['amd64', 'arm64'].map((architecture) => ({
    mediaType: manifestType,
    digest: digests.get(architecture),
    size: `a manifest of ${architecture}`.length,
    platform: { architecture, os: 'linux' },
  }))
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }))
  const rows = await database.query(sql`
    select name, arch, manifest_digest as digest from tags order by name, arch`)
  assert.deepEqual(rows, [
    { name: 'latest', arch: '', digest: digestOf(index) },
    { name: 'latest', arch: 'amd64', digest: digests.get('amd64') },
    { name: 'latest', arch: 'arm64', digest: digests.get('arm64') },
    { name: 'odd', arch: 'unknown', digest: digests.get('') },
    { name: 'v1', arch: 'arm64', digest: digests.get('arm64') },
  ])
  const composed = await database.query(sql`
    select bytes, media_type as "mediaType" from manifests where composed`)
  assert.deepEqual(composed, [{ bytes: index, mediaType: indexType }])
  assert.deepEqual(await migrate(database), [])
})

/** As a version did whose last migration has this number. */
async function migrateTo(database: Database, last: string): Promise<void> {
  const source = join(packageRoot, 'server/migrations')
  const directory = mkdtempSync(join(tmpdir(), 'berth-migrations-'))
  try {
    for (const name of readdirSync(source).filter((file) => file.slice(0, 4) <= last)) {
      copyFileSync(join(source, name), join(directory, name))
    }
    await migrate(database, { directory })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
