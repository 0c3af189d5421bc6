/** Each fault that can be between rows and files, put in by hand, found, and mended where that is safe. */
import assert from 'node:assert/strict'
import { readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { sql } from '../../server/database.ts'
import { fsck } from '../../server/fsck.ts'
import type { Finding } from '../../server/fsck.ts'
import { sha256 } from '../support/client.ts'
import { emptyConfig, imageManifest, pushManifest } from '../support/oci-push.ts'
import { makeSif } from '../support/sif.ts'
import { lastFirst, makeSite } from './site.ts'
import type { Site } from './site.ts'

const sif = makeSif({ seed: 'fsck', payload: 3000 })
const arm = makeSif({ seed: 'fsck', payload: 3000, arch: 'arm64' })
const buildId = 'b'.repeat(24)

interface Fault {
  readonly name: string
  readonly make: (site: Site, path: (digest: string) => string) => Promise<unknown>
  readonly kind: string
  readonly state: Finding['state']
  /** Found only where every byte is read. */
  readonly deep?: boolean
}

const faults: readonly Fault[] = [
  {
    name: 'the file of an image is gone',
    make: async (_, path) => unlinkSync(path(sha256(sif))),
    kind: 'lost-file',
    state: 'open',
  },
  {
    name: 'the file of an image is too short',
    make: async (_, path) => truncateSync(path(sha256(sif)), 100),
    kind: 'wrong-size',
    state: 'open',
  },
  {
    name: 'one bit of an image is another',
    make: async (_, path) => {
      const bytes = readFileSync(path(sha256(sif)))
      bytes[1000] = (bytes[1000] ?? 0) ^ 1
      writeFileSync(path(sha256(sif)), bytes)
    },
    kind: 'wrong-bytes',
    state: 'open',
    deep: true,
  },
  {
    name: 'a file without a row',
    make: async (_, path) => writeFileSync(path(sha256(Buffer.from('left'))), 'left'),
    kind: 'file-without-row',
    state: 'repairable',
  },
  {
    name: 'an incoming file without an upload',
    make: async ({ dataDir }) =>
      writeFileSync(join(dataDir, 'store/incoming', 'c'.repeat(32)), 'left'),
    kind: 'left-upload',
    state: 'repairable',
  },
  {
    name: 'a row without a file that nothing needs',
    make: async ({ server }) =>
      await server.db.query(
        sql`insert into blobs (digest, size) values (${`sha256:${'d'.repeat(64)}`}, 5)`,
      ),
    kind: 'lost-file',
    state: 'repairable',
  },
  {
    name: 'a ledger that drifted',
    make: async ({ server }) =>
      await server.db.query(sql`update entities set used_bytes = used_bytes + 7`),
    kind: 'ledger',
    state: 'repairable',
  },
  {
    name: 'reserved bytes of no upload',
    make: async ({ server }) => await server.db.query(sql`update entities set reserved_bytes = 9`),
    kind: 'ledger',
    state: 'repairable',
  },
  {
    name: 'a blob that is needed and waits for its removal',
    make: async ({ server }) =>
      await server.db.query(
        sql`update blobs set condemned_at = now() where digest = ${`sha256:${sha256(sif)}`}`,
      ),
    kind: 'condemned',
    state: 'repairable',
  },
  {
    name: 'a manifest with other bytes',
    make: async ({ server }) =>
      await server.db.query(sql`
        update manifests set bytes = bytes || '\\x20'::bytea where sif_digest is null and not composed`),
    kind: 'manifest',
    state: 'open',
  },
  {
    name: 'a tag whose index names an image that is not there',
    make: async ({ server }) => {
      const digest = `sha256:${sha256(arm)}`
      await server.db.query(sql`
        update images set manifest_digest = null, uploaded_at = null where digest = ${digest}`)
      await server.db.query(sql`
        delete from tags t using manifests m where m.repository_id = t.repository_id
          and m.digest = t.manifest_digest and m.sif_digest = ${digest}`)
      await server.db.query(sql`delete from manifests where sif_digest = ${digest}`)
    },
    kind: 'tag',
    state: 'open',
  },
  {
    name: 'output of a build that is gone',
    make: async ({ server }) =>
      await server.db.query(sql`
        insert into builds (id, account_id, state, arch, definition, target_path, target_tag,
          ephemeral, ended_at, output_bytes)
        select ${buildId}, id, 'failed', 'amd64', '', 'anna/a/b', 'c', false, now(), 12
        from accounts where name = 'anna'`),
    kind: 'build-output',
    state: 'repairable',
  },
]

/** Who repairs, by the name in the audit log. */
const erika = { ...hostOperator, name: 'erika@host' }
const quiet = { deep: false, repairBy: undefined, onProgress: () => {} }

async function filledSite(t: Parameters<typeof lastFirst>[0]): Promise<Site> {
  const site = await makeSite(lastFirst(t))
  const anna = await site.server.user('anna')
  assert.equal((await anna.push('anna/demo/tool', 'v1', sif)).status, 200)
  assert.equal((await anna.push('anna/demo/tool', undefined, arm)).status, 200)
  await anna.tag('anna/demo/tool', 'v1', arm, 'arm64')
  const layer = Buffer.from('a layer')
  const manifest = imageManifest(emptyConfig, [layer])
  await pushManifest(anna, 'anna/demo/web', 'v1', manifest, [emptyConfig, layer])
  return site
}

for (const fault of faults) {
  test(`fsck: ${fault.name}`, async (t) => {
    const site = await filledSite(t)
    const { server, dataDir } = site
    const parts = { database: server.appliance.database, blobs: server.appliance.blobs, dataDir }
    assert.deepEqual(await fsck(parts, { ...quiet, deep: true }), [])
    const path = (digest: string): string =>
      join(dataDir, 'store/blobs/sha256', digest.slice(0, 2), digest)
    await fault.make(site, path)

    const shallow = await fsck(parts, quiet)
    const deep = await fsck(parts, { ...quiet, deep: true })
    if (fault.deep === true) assert.deepEqual(shallow, [])
    else assert.deepEqual(shallow, deep)
    assert.deepEqual([...new Set(deep.map(({ kind }) => kind))], [fault.kind])
    for (const { state } of deep) assert.equal(state, fault.state)

    const repaired = await fsck(parts, { ...quiet, deep: true, repairBy: erika })
    const [left] = await fsck(parts, { ...quiet, deep: true })
    if (fault.state === 'open') {
      assert.equal(left?.state, 'open')
    } else {
      for (const { state } of repaired) assert.equal(state, 'repaired')
      assert.equal(left, undefined)
      const [row] = await server.db.query(sql`
        select 1 from audit
        where action in ('fsck.repair', 'quota.recount') and account_name = ${erika.name}`)
      assert.ok(row)
    }
    // Nothing may be left for the server to complain about at its end.
    await server.db.query(sql`truncate entities cascade`)
  })
}

test('berthctl fsck says what is wrong and how it ended', async (t) => {
  const site = await filledSite(t)
  const clean = await site.berthctl('fsck')
  assert.equal(clean.stdout, 'Everything is as it must be.\n')
  assert.equal(clean.code, 0)
  await site.server.db.query(sql`update entities set used_bytes = used_bytes + 7`)
  const wrong = await site.berthctl('fsck', '--json')
  assert.equal(wrong.code, 1)
  const told = JSON.parse(wrong.stdout) as { clean: boolean; findings: Finding[] }
  assert.equal(told.clean, false)
  assert.deepEqual(
    told.findings.map(({ kind, subject }) => [kind, subject]),
    [['ledger', 'anna']],
  )
  const mended = await site.berthctl('fsck', '--repair')
  assert.equal(mended.code, 0)
  assert.match(mended.stdout, /\(repaired\)\nEverything is as it must be now\.\n$/)
})
