/** Artifacts that are attached to a manifest by its `subject` (distribution-spec end-12). */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import type { Reply } from '../support/client.ts'
import { digestOf, types } from '../support/oci-image.ts'
import { emptyConfig, pushBlob, putManifest } from '../support/oci-push.ts'
import type { Manifest } from '../support/oci-push.ts'
import { assertRefused, makeManifest, subjectOf } from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const user = await server.user('signer')
const name = 'signer/demo/tool'
await pushBlob(user, name, emptyConfig)

const sbomType = 'application/vnd.example.sbom'
const signatureType = 'application/vnd.example.signature'

/** Other bytes for each test. */
function makeSubject(text: string): Manifest {
  return makeManifest({ extra: { annotations: { subject: text } } })
}

function attached(subject: Manifest, artifactType: string, text = ''): Manifest {
  const annotations = { 'org.example.text': text }
  return makeManifest({ extra: { artifactType, annotations, subject: subjectOf(subject) } })
}

async function put(manifest: Manifest): Promise<Reply> {
  const reply = await putManifest(user, name, manifest.digest, manifest)
  assert.equal(reply.status, 201, reply.body.toString())
  return reply
}

async function referrersOf(digest: string, query = ''): Promise<Reply> {
  const reply = await user.get(`/v2/${name}/referrers/${digest}${query}`)
  assert.equal(reply.status, 200, reply.body.toString())
  assert.equal(reply.headers['content-type'], types.index)
  assert.equal(reply.json.schemaVersion, 2)
  assert.equal(reply.json.mediaType, types.index)
  return reply
}

test('what is attached is listed with its type and its annotations', async () => {
  const subject = makeSubject('listed')
  await put(subject)
  const sbom = attached(subject, sbomType, 'an sbom')
  const reply = await put(sbom)
  assert.equal(reply.headers['oci-subject'], subject.digest, 'tells that there is an API')
  assert.equal((await put(makeSubject('no subject'))).headers['oci-subject'], undefined)
  assert.deepEqual((await referrersOf(subject.digest)).json.manifests, [
    {
      mediaType: types.manifest,
      digest: sbom.digest,
      size: sbom.bytes.length,
      artifactType: sbomType,
      annotations: { 'org.example.text': 'an sbom' },
    },
  ])
})

test('without an artifactType the type of the configuration stands for it; an index has none', async () => {
  const subject = makeSubject('types')
  await put(subject)
  const config = { mediaType: 'application/vnd.example.config' }
  await put(makeManifest({ config, extra: { subject: subjectOf(subject) } }))
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: types.index,
      manifests: [],
      subject: subjectOf(subject),
    }),
  )
  await put({ bytes, mediaType: types.index, digest: digestOf(bytes) })
  const { manifests } = (await referrersOf(subject.digest)).json
  const found = manifests.map((one: { mediaType: string; artifactType?: string }) => [
    one.mediaType,
    one.artifactType,
  ])
  assert.deepEqual(found.sort(), [
    [types.index, undefined],
    [types.manifest, 'application/vnd.example.config'],
  ])
})

test('the list is filtered by type, and says so', async () => {
  const subject = makeSubject('filtered')
  await put(subject)
  for (const text of ['a', 'b']) await put(attached(subject, sbomType, text))
  await put(attached(subject, signatureType))
  const all = await referrersOf(subject.digest)
  assert.equal(all.json.manifests.length, 3)
  assert.equal(all.headers['oci-filters-applied'], undefined)
  for (const [type, count] of [
    [sbomType, 2],
    [signatureType, 1],
    ['application/vnd.example.none', 0],
  ] as const) {
    const some = await referrersOf(subject.digest, `?artifactType=${encodeURIComponent(type)}`)
    assert.equal(some.json.manifests.length, count, type)
    assert.equal(some.headers['oci-filters-applied'], 'artifactType')
  }
})

test('a subject may come after what is attached to it, and may never come', async () => {
  const subject = makeSubject('late')
  const sbom = attached(subject, sbomType)
  const reply = await put(sbom)
  assert.equal(reply.headers['oci-subject'], subject.digest)
  assert.equal((await user.get(`/v2/${name}/manifests/${subject.digest}`)).status, 404)
  assert.equal((await referrersOf(subject.digest)).json.manifests[0].digest, sbom.digest)
  await put(subject)
  assert.equal((await referrersOf(subject.digest)).json.manifests.length, 1)
})

test('nothing is attached to what nobody knows; a digest that is none is refused', async () => {
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const reply = await referrersOf(digestOf(Buffer.from('unknown'), algorithm))
    assert.deepEqual(reply.json.manifests, [])
  }
  for (const digest of ['sha256:abc', 'latest', `sha256:${'Z'.repeat(64)}`]) {
    const refused = await user.get(`/v2/${name}/referrers/${digest}`)
    assertRefused(refused, 400, 'DIGEST_INVALID')
  }
})

test('the same manifest in another repository is attached there only', async () => {
  const subject = makeSubject('here')
  await put(subject)
  await put(attached(subject, sbomType))
  await pushBlob(user, 'signer/demo/other', emptyConfig)
  const reply = await user.get(`/v2/signer/demo/other/referrers/${subject.digest}`)
  assert.deepEqual(reply.json.manifests, [])
})

test('deletions: of the attached, which leaves the list, and of the subject, which does not', async () => {
  const subject = makeSubject('deleted')
  await put(subject)
  const [sbom, signature] = [attached(subject, sbomType), attached(subject, signatureType)]
  await put(sbom)
  await put(signature)
  assert.equal((await user.delete(`/v2/${name}/manifests/${sbom.digest}`)).status, 202)
  const left = (await referrersOf(subject.digest)).json.manifests
  assert.deepEqual(
    left.map((one: { digest: string }) => one.digest),
    [signature.digest],
  )
  assert.equal((await user.delete(`/v2/${name}/manifests/${subject.digest}`)).status, 202)
  assert.equal((await referrersOf(subject.digest)).json.manifests.length, 1)
  await user.delete(`/v2/${name}/manifests/${signature.digest}`)
  assert.deepEqual((await referrersOf(subject.digest)).json.manifests, [])
})

test('the tag that stands for the API elsewhere is a tag like others', async () => {
  // Clients write sha256-<hex> where no OCI-Subject came back; copies from there bring it along.
  const subject = makeSubject('tagged')
  await put(subject)
  const sbom = attached(subject, sbomType)
  await put(sbom)
  const tag = subject.digest.replace(':', '-')
  assertRefused(await user.get(`/v2/${name}/manifests/${tag}`), 404, 'MANIFEST_UNKNOWN')
  const bytes = (await referrersOf(subject.digest)).body
  const index = { bytes, mediaType: types.index, digest: digestOf(bytes) }
  assert.equal((await putManifest(user, name, tag, index)).status, 201)
  assert.ok((await user.get(`/v2/${name}/manifests/${tag}`)).body.equals(bytes))
  const listed = (await referrersOf(subject.digest)).json.manifests
  assert.equal(listed.length, 1, 'the tag adds nothing to the list')
  assert.equal((await user.delete(`/v2/${name}/manifests/${tag}`)).status, 202)
})
