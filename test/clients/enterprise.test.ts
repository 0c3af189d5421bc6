/**
 * `singularity enterprise` against a real server: the tables and messages that its users see.
 *
 * The plugin itself comes with SingularityCE 4.6 and is in none of the archives that the tests can
 * install from. Where it is installed (as `singularity`, or as BERTH_SINGULARITY names it) it is run.
 * In any case enterprise-driver is run, a program of our own that makes the plugin's calls through the
 * plugin's HTTP runtime and prints the short and long tables, csv and json by the same rules.
 */
import assert from 'node:assert/strict'
import test from 'node:test'

import { libraryHash } from '../support/client.ts'
import type { Outcome } from './apptainer-root.ts'
import { bwa, current, encrypted, old, openSite, programs } from './enterprise-site.ts'

for (const program of programs) {
  const { skip } = program
  const named = (what: string): string => `${program.name}: ${what}`

  test(named('status of the services and of the token'), { skip }, async (t) => {
    const site = await openSite(t, program)
    const version = (await site.server.anonymous.get('/version')).json.data.version
    const services = [
      '',
      'Status for Enterprise installation ',
      '',
      `SERVICE         STATUS VERSION`,
      `library         OK     ${version}`,
      `build server    OK     ${version}`,
      `build manager   OK     ${version}`,
      `key service     OK     ${version}`,
      `consent service OK     ${version}`,
      `token service   OK     ${version}`,
      '',
    ]
    const says = (line: string): Outcome => outcome([...services, line, ''].join('\n'))
    assert.deepEqual(await site.alice('status'), says('Auth token is valid'))
    assert.deepEqual(await site.nobody('status'), says('No authentication token provided'))
    await site.client.delete(`/v1/token/${site.client.credentials?.tokenId}`)
    assert.deepEqual(await site.alice('status'), says('Auth token is not valid'))
  })

  test(named('projects, collections, repositories and images'), { skip }, async (t) => {
    const site = await openSite(t, program)
    for (const run of [site.alice, site.nobody]) {
      await shows(
        run('get', 'prj'),
        `
ID    Name  Owner
alice alice alice·
`,
      )
      await shows(
        run('get', 'col', 'alice'),
        `
ID           Name   Num. Containers
alice/models models 1·
alice/tools  tools  2·
`,
      )
      await shows(
        run('get', 'col', 'alice', '-o', 'long'),
        `
ID           Name   Entity EntityName Num. Containers Containers
alice/models models alice  alice      1               [alice/models/resnet50]················
alice/tools  tools  alice  alice      2               [alice/tools/bwa alice/tools/samtools]·
`,
      )
      await shows(
        run('get', 'rep', 'alice/tools'),
        `
ID                   Name     Description                                       Images Tags Size      DownloadCount
alice/tools/bwa      bwa      Burrows-Wheeler aligner                           1      2      1.1 MiB 7··
alice/tools/samtools samtools SAM/BAM utilities built for the site module tr... 2      3      4.8 MiB 12·
`,
      )
      await shows(
        run('get', 'rep', 'alice/models/resnet50', '-o', 'long'),
        `
ID                    Name     Entity EntityName Collection   CollectionName Description Images Tags Size      DownloadCount ImageTags CreatedAt                     UpdatedAt                     Deleted
alice/models/resnet50 resnet50 alice  alice      alice/models models                     1      0     19.1 MiB 0             map[]     2026-03-03 03:00:00 +0000 UTC 2026-03-03 03:00:00 +0000 UTC false·
`,
      )
      await shows(
        run('get', 'img', 'alice/tools/samtools'),
        `
ID${' '.repeat(90)} Tags          Arch  Description Size      Signed Encrypted Uploaded
alice/tools/samtools:${libraryHash(old)} [1.19]        amd64               1.9 MiB false  false     true·
alice/tools/samtools:${libraryHash(current)} [1.20 latest] amd64               2.9 MiB false  false     true·
`,
      )
      await shows(
        run('get', 'img', 'alice/models/resnet50'),
        `
ID${' '.repeat(91)} Tags Arch  Description Size      Signed Encrypted Uploaded
alice/models/resnet50:${libraryHash(encrypted)} []   amd64              19.1 MiB false  true      true·
`,
      )
    }
    // The slashes of a reference are escaped on the wire.
    assert.match(site.server.log(), /"\/v1\/collections\/alice%2Ftools\/_containers"/)
  })

  test(
    named('one object of each kind, by the ID that the list before it shows'),
    { skip },
    async (t) => {
      const { alice } = await openSite(t, program)
      const hash = libraryHash(bwa)
      await shows(alice('get', 'prj', 'alice'), 'ID    Name  Owner\nalice alice alice·\n')
      await shows(
        alice('get', 'col', 'alice/tools'),
        `
ID          Name  Num. Containers
alice/tools tools 2·
`,
      )
      await shows(
        alice('get', 'img', 'alice/tools/bwa:latest', '-o', 'json'),
        `[
  {
    "arch": "arm64",
    "collection": "alice/tools",
    "collectionName": "tools",
    "container": "alice/tools/bwa",
    "containerName": "bwa",
    "entity": "alice",
    "entityName": "alice",
    "hash": "${hash}",
    "id": "alice/tools/bwa:${hash}",
    "signed": true,
    "size": ${bwa.length},
    "tags": [
      "0.7.18",
      "latest"
    ],
    "uploaded": true
  }
]`,
      )
      await shows(
        alice('get', 'img', 'alice/tools/bwa', '-o', 'csv'),
        `
ID,Entity,EntityName,Collection,CollectionName,Container,ContainerName,Tags,Arch,Description,Hash,Signed,Encrypted,Uploaded,Deleted
alice/tools/bwa:${hash},alice,alice,alice/tools,tools,alice/tools/bwa,bwa,[0.7.18 latest],arm64,,${hash},true,false,true,false
`,
      )
      await shows(
        alice('describe', 'prj', 'alice'),
        `
Entity: alice
  Created At:⇥2026-01-01T00:00:00.000Z
  Default Private:⇥false
  Id:⇥alice
  Name:⇥alice
  Owner:⇥alice
  Updated At:⇥2026-01-01T00:00:00.000Z
`,
      )
      await shows(
        alice('describe', 'rep', 'alice/tools/bwa'),
        `
Container: alice/tools/bwa
  Arch Tags:
    arm64:
      0.7.18:⇥alice/tools/bwa:${hash}
      latest:⇥alice/tools/bwa:${hash}
  Collection:⇥alice/tools
  Collection Name:⇥tools
  Created At:⇥2026-03-03T03:00:00.000Z
  Deleted:⇥false
  Description:⇥Burrows-Wheeler aligner
  Download Count:⇥7
  Entity:⇥alice
  Entity Name:⇥alice
  Id:⇥alice/tools/bwa
  Image Tags:
    0.7.18:⇥alice/tools/bwa:${hash}
    latest:⇥alice/tools/bwa:${hash}
  Images:⇥[alice/tools/bwa:${hash}]
  Name:⇥bwa
  Size:⇥${bwa.length}
  Updated At:⇥2026-03-03T03:00:00.000Z
`,
      )
    },
  )

  test(named('tokens are listed, described and revoked'), { skip }, async (t) => {
    const { alice, client, ids } = await openSite(t, program)
    const [laptop, runner] = ids.tokens
    const listed = await alice('get', 'tok')
    assert.match(listed.stderr, new RegExp(`^INFO: .*${client.credentials?.accountId}`, 'm'))
    assert.equal(
      listed.stdout,
      text(`
ID                       Subject Label     Expiration                    IsRevoked
${laptop} alice   laptop    2126-01-10 09:00:00 +0000 UTC false·
${runner} alice   ci runner 2126-02-10 09:00:00 +0000 UTC false·
`),
    )
    await shows(
      alice('get', 'tok', '-o', 'long'),
      `
ID                       Subject Label     IssuedAt                      Expiration                    IsRevoked RevokedAt
${laptop} alice   laptop    2026-01-10 09:00:00 +0000 UTC 2126-01-10 09:00:00 +0000 UTC false······
${runner} alice   ci runner 2026-02-10 09:00:00 +0000 UTC 2126-02-10 09:00:00 +0000 UTC false······
`,
    )
    await shows(
      alice('describe', 'tok', laptop),
      `
Token: ${laptop}
  Expiration:⇥2126-01-10T09:00:00.000Z
  Id:⇥${laptop}
  Is Revoked:⇥false
  Issued At:⇥2026-01-10T09:00:00.000Z
  Label:⇥laptop
  Revoked At:⇥
  Subject:⇥${client.credentials?.accountId}
`,
    )
    const revoked = await alice('delete', 'tok', runner)
    assert.deepEqual([revoked.status, revoked.stdout], [0, ''])
    assert.match(revoked.stderr, new RegExp(`^INFO: +Revoking token ${runner}$`, 'm'))
    await shows(
      alice('get', 'tok'),
      `
ID                       Subject Label  Expiration                    IsRevoked
${laptop} alice   laptop 2126-01-10 09:00:00 +0000 UTC false·
`,
    )
    await shows(
      alice('get', 'tok', '--show-disabled-tokens'),
      `
ID                       Subject Label     Expiration                    IsRevoked
${laptop} alice   laptop    2126-01-10 09:00:00 +0000 UTC false·
${runner} alice   ci runner 2126-02-10 09:00:00 +0000 UTC true··
`,
    )
    await shows(
      alice('get', 'tok', runner, laptop),
      `
ID                       Subject Label     Expiration                    IsRevoked
${runner} alice   ci runner 2126-02-10 09:00:00 +0000 UTC true··
${laptop} alice   laptop    2126-01-10 09:00:00 +0000 UTC false·
`,
    )
  })

  test(
    named('an administrator sees users, and lists and revokes their tokens'),
    { skip },
    async (t) => {
      const { root, alice, client } = await openSite(t, program)
      const id = client.credentials?.accountId ?? ''
      await shows(
        root('get', 'usr', 'alice', '-o', 'long'),
        `
ID                       Username Email              Provider ProviderID Active Groups Roles AllRoles Quota.MaxBuildTime Quota.MaxBuildTimeCumulative Quota.MaxLibrarySize CreatedAt                     DeactivatedAt
${id} alice    alice@site.example local    alice      true   []     []    []       0                  0                            100.0 MiB            2026-01-01 00:00:00 +0000 UTC··
`,
      )
      const everybody = await root('get', 'usr')
      assert.deepEqual([everybody.status, everybody.stdout.split('\n').length], [0, 4])
      const described = await root('describe', 'usr', 'alice')
      assert.match(described.stdout, /^ {2}Quotas:\n {4}Max Build Time:\t0\n/m)
      assert.match(described.stdout, /^ {4}Max Library Size:\t102400$/m)
      assert.match((await root('get', 'tok', '--user', 'alice')).stdout, / alice +laptop /)
      assert.equal((await root('delete', 'tok', '--all', '--user', 'alice')).status, 0)
      await shows(root('get', 'tok', '--user', id), 'ID Subject Label Expiration IsRevoked\n')
      assert.match((await alice('status')).stdout, /^Auth token is not valid$/m)
      await fails(alice('get', 'tok'), /401/)
    },
  )

  test(
    named('what is not there, or not for the caller, fails and says why'),
    { skip },
    async (t) => {
      const { alice, nobody, root, ids } = await openSite(t, program)
      await fails(alice('get', 'rep', 'alice/none'), /\[404\]/)
      await fails(alice('get', 'usr'), /\[401\]/)
      await fails(alice('get', 'tok', '--user', 'f'.repeat(24)), /403/)
      await fails(alice('delete', 'tok', ids.rootToken), /\[404\]/)
      await fails(nobody('get', 'tok'), /401/)
      await fails(nobody('get', 'usr'), /\[401\]/)
      await fails(root('get', 'usr', 'carol'), /unknown user/)
      const partly = await alice('get', 'rep', 'alice/tools/bwa', 'alice/tools/none')
      assert.equal(partly.status, 0)
      assert.match(partly.stderr, /^WARNING: .*404/m)
      assert.equal(
        partly.stdout,
        text(`
ID              Name Description             Images Tags Size      DownloadCount
alice/tools/bwa bwa  Burrows-Wheeler aligner 1      2      1.1 MiB 7·
`),
      )
      const foreign = await alice('get', 'tok', ids.rootToken)
      assert.match(foreign.stderr, /^WARNING: .*403/m)
      assert.equal(foreign.stdout, 'ID Subject Label Expiration IsRevoked\n')
    },
  )
}

test('the stock plugin: yaml, which only it prints', { skip: programs[0]?.skip }, async (t) => {
  const [plugin] = programs
  assert.ok(plugin)
  const { alice } = await openSite(t, plugin)
  const listed = await alice('get', 'col', 'alice/tools', '-o', 'yaml')
  assert.match(listed.stdout, /entityname: alice/)
  assert.match(listed.stdout, /- alice\/tools\/bwa/)
})

async function shows(running: Promise<Outcome>, block: string): Promise<void> {
  const { status, stdout, stderr } = await running
  assert.equal(status, 0, stderr)
  assert.equal(stdout, text(block))
}

async function fails(running: Promise<Outcome>, message: RegExp): Promise<void> {
  const { status, stdout, stderr } = await running
  assert.deepEqual([status, stdout], [1, ''], stderr)
  assert.match(stderr, message)
}

/** Blocks begin on a line of their own; · is a blank at the end of a line, ⇥ a tab. */
function text(block: string): string {
  return block.replace(/^\n/, '').replaceAll('·', ' ').replaceAll('⇥', '\t')
}

function outcome(stdout: string): Outcome {
  return { status: 0, stdout, stderr: '' }
}
