/** ABCI's page from its beginning to its end, as alice and bob of the login node read it. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'

import { passwordOf } from '../support/slapd-people.ts'
import { canBuild } from './appliance.ts'
import { openShell } from './shell.ts'
import type { Shell } from './shell.ts'
import { hostNames } from './site.ts'
import type { Site } from './site.ts'

const passphrase = 'correct horse'

/** What the page's ubuntu.def is, without the internet: its first layer goes along with it. */
const definition = `Bootstrap: scratch

%setup
    mkdir -p "$APPTAINER_ROOTFS/bin"
    for name in sh cat echo; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done

%files
    /usr/bin/busybox /bin/busybox

%post
    echo built for the page >/made

%runscript
    cat /made
`

export async function walkThePage(t: TestContext, site: Site): Promise<void> {
  const { login } = site.hosts
  const alice = openShell(t, login, 'alice', 'module load berth')
  const bob = openShell(t, login, 'bob', 'module load berth')
  const walk: Walk = { alice, bob, fingerprint: '' }
  const builds = canBuild(site)
  for (const step of steps) {
    const leftOut = builds ? undefined : step.withoutBuilder
    if (leftOut) await t.test(step.name, { skip: 'the appliance has no Apptainer to build with' })
    const { name, work } = leftOut ?? step
    let passed = false
    await t.test(name, async () => {
      await work(walk)
      passed = true
    })
    if (!passed) throw new Error(`stopped after: ${name}`)
  }
}

interface Walk {
  readonly alice: Shell
  readonly bob: Shell
  fingerprint: string
}

interface Step {
  readonly name: string
  readonly work: (walk: Walk) => Promise<void>
  /** What takes its place where the appliance does not build, so that the page goes on. */
  readonly withoutBuilder?: Step
}

const prompt = 'Example portal password :'
const image = 'library://alice/abci-lib/hello:latest'

const steps: readonly Step[] = [
  {
    name: 'page: creating an access token',
    work: async ({ alice, bob }) => {
      for (const [name, shell] of [
        ['alice', alice],
        ['bob', bob],
      ] as const) {
        const shown = await shell.converse('get_singularity_token', [
          { see: prompt, type: passwordOf(name) },
        ])
        assert.match(shown, /just a moment, please\.\.\./)
        const token = /^ey[\w-]+\.[\w-]+\.[\w-]+$/m.exec(shown)?.[0] ?? assert.fail(shown)
        assert.ok(!shown.includes(passwordOf(name)))
        await shell.type(`umask 077 && printf %s '${token}' >token`)
      }
      const wrong = await alice.try('echo nonsense | get_singularity_token')
      assert.equal(wrong.status, 1)
      assert.match(wrong.text, /password of alice is wrong/)
    },
  },
  {
    name: 'page: checking the remote endpoint',
    work: async ({ alice }) => {
      const listed = await alice.type('singularity remote list')
      assert.match(listed, new RegExp(`^Example +${hostNames.appliance} `, 'm'))
      // SingularityCE lists the keyserver beside it, Apptainer by a command of its own.
      const keyservers = await alice.type('singularity keyserver list')
      assert.match(keyservers, new RegExp(`https://${hostNames.appliance}`))
    },
  },
  {
    name: 'page: registering the access token',
    work: async ({ alice, bob }) => {
      const token = (await alice.type('cat token')).trim()
      const shown = await alice.converse('singularity remote login Example', [
        { see: /Access Token:/, type: token },
      ])
      assert.match(shown, /Access Token Verified!/)
      assert.match(shown, /Token stored in \/home\/alice\//)
      await bob.type('singularity remote login --tokenfile token Example')
    },
  },
  {
    name: 'page: remote builder',
    work: async ({ alice }) => {
      await alice.type(`cat >hello.def <<'EOF'\n${definition}EOF`)
      await alice.type('singularity build --remote hello.sif hello.def', 300)
      assert.match(await alice.type('singularity run hello.sif'), /^built for the page$/m)
    },
    withoutBuilder: {
      name: 'a remote build is refused, and the login node builds',
      work: async ({ alice }) => {
        await alice.type(`cat >hello.def <<'EOF'\n${definition}EOF`)
        const refused = await alice.try('singularity build --remote hello.sif hello.def')
        assert.equal(refused.status, 1, refused.text)
        assert.match(refused.text, /This site has no builder: build on your own machine/)
        await alice.type('singularity build hello.sif hello.def', 300)
        assert.match(await alice.type('singularity run hello.sif'), /^built for the page$/m)
      },
    },
  },
  {
    name: 'page: creating and registering a key pair',
    work: async (walk) => {
      const { alice } = walk
      const shown = await alice.converse('singularity key newpair', [
        { see: /Enter your name.*:/, type: 'alice' },
        { see: /Enter your email address.*:/, type: 'alice' },
        { see: /Enter optional comment.*:/, type: 'of the page' },
        { see: /Enter a passphrase :/, type: passphrase },
        { see: /Retype your passphrase :/, type: passphrase },
      ])
      // Apptainer does not ask whether to push it, as the page's program does.
      assert.match(shown, /Generating Entity and OpenPGP Key Pair\.\.\. done/)
      const listed = await alice.type('singularity key list')
      assert.match(listed, /User: +alice \(of the page\) <alice>/)
      walk.fingerprint = /Fingerprint: +([0-9A-F]{40})/.exec(listed)?.[1] ?? assert.fail(listed)
      await alice.type(`singularity key push ${walk.fingerprint}`)
      const found = await alice.type('singularity key search -l alice')
      assert.match(found, /^Showing 1 results$/m)
      assert.ok(found.includes(walk.fingerprint))
    },
  },
  {
    name: 'page: getting public keys, and deleting them from the keyring',
    work: async ({ bob, fingerprint }) => {
      await bob.type(`singularity key pull ${fingerprint}`)
      assert.ok((await bob.type('singularity key list')).includes(fingerprint))
      await bob.type(`singularity key remove ${fingerprint}`)
      assert.ok(!(await bob.type('singularity key list')).includes(fingerprint))
    },
  },
  {
    name: 'page: uploading container images',
    work: async ({ alice, fingerprint }) => {
      assert.ok((await alice.type('singularity key list -s')).includes(fingerprint))
      const signed = await alice.converse('singularity sign -k 0 ./hello.sif', [
        { see: /Enter key passphrase :/, type: passphrase },
      ])
      assert.match(signed, /Signature created and applied to/)
      await alice.type(`singularity push hello.sif ${image}`)
    },
  },
  {
    name: 'page: downloading container images, and verifying them',
    work: async ({ bob }) => {
      await bob.type(`singularity pull ${image}`)
      const verified = await bob.try('singularity verify hello_latest.sif')
      assert.equal(verified.status, 0, verified.text)
      assert.match(verified.text, /\[REMOTE\] +Signing entity: alice \(of the page\) <alice>/)
      assert.match(await bob.type('singularity run hello_latest.sif'), /^built for the page$/m)
    },
  },
  {
    name: 'page: searching container images',
    work: async ({ bob }) => {
      assert.match(
        await bob.type('singularity search hello'),
        /library:\/\/alice\/abci-lib\/hello:latest/,
      )
    },
  },
  {
    name: 'page: listing container images',
    work: async ({ alice }) => {
      const collections = await alice.type('singularity enterprise get col alice')
      assert.match(collections, /^ID +Name +Num\. Containers *$/m)
      assert.match(collections, /^alice\/abci-lib +abci-lib +1 *$/m)
      const containers = await alice.type('singularity enterprise get rep alice/abci-lib')
      assert.match(containers, /^alice\/abci-lib\/hello +hello +1 +1 +\d+\.\d [KM]iB +\d+ *$/m)
      const images = await alice.type('singularity enterprise get img alice/abci-lib/hello')
      assert.match(
        images,
        /^alice\/abci-lib\/hello:sha256\.[0-9a-f]{64} +\[latest\] +amd64 .*true +false +true *$/m,
      )
    },
  },
  {
    name: 'page: viewing container library usage',
    work: async ({ alice }) => {
      const shown = await alice.converse('show_container_library_usage', [
        { see: prompt, type: passwordOf('alice') },
      ])
      assert.match(shown, /used\(GiB\) limit\(GiB\) num_of_repositories/)
      assert.match(shown, /^1 +100 +\d+ *$/m)
    },
  },
  {
    name: 'page: listing access tokens, and revoking one',
    work: async ({ alice }) => {
      const shown = await alice.converse('list_singularity_tokens', [
        { see: prompt, type: passwordOf('alice') },
      ])
      assert.match(shown, /^Issued: \w{3} \d+, \d{4} at \d+:\d\d [ap]m JST$/m)
      const id = /^Token ID: ([0-9a-f]{24})$/m.exec(shown)?.[1] ?? assert.fail(shown)
      const revoked = await alice.try(`singularity enterprise delete token ${id}`)
      assert.equal(revoked.status, 0, revoked.text)
      assert.match(revoked.text, new RegExp(`INFO: +Revoking token ${id}`))
      const refused = await alice.try(
        `singularity push -U hello.sif library://alice/abci-lib/other:v1`,
      )
      assert.notEqual(refused.status, 0, refused.text)
    },
  },
  {
    name: 'page: deleting container images, with another token',
    work: async ({ alice, bob }) => {
      const shown = await alice.converse('get_singularity_token', [
        { see: prompt, type: passwordOf('alice') },
      ])
      const token = /^ey[\w-]+\.[\w-]+\.[\w-]+$/m.exec(shown)?.[0] ?? assert.fail(shown)
      await alice.type(
        `printf %s '${token}' >token && singularity remote login --tokenfile token Example`,
      )
      await alice.type('singularity push -U hello.sif library://alice/abci-lib/helloworld:latest')
      await alice.type('singularity delete --force library://alice/abci-lib/helloworld:latest')
      const gone = await bob.try(
        'singularity pull gone.sif library://alice/abci-lib/helloworld:latest',
      )
      assert.notEqual(gone.status, 0)
    },
  },
]
