/** Scopes of registry tokens and texts of manifests, without a server. */
import assert from 'node:assert/strict'
import test from 'node:test'

import { parseManifest, sifLayerOf } from '../../server/content/manifest-document.ts'
import { Failure } from '../../server/failure.ts'
import { parseScopes } from '../../server/oci/scopes.ts'

test('scopes that are long and strange are read in a straight line', () => {
  const strange = [
    `repository:${'a/'.repeat(50_000)}:pull`,
    `repository:${':'.repeat(50_000)}`,
    `${'a'.repeat(50_000)}(b):c:${'pull,'.repeat(10_000)}`,
    `repository:${':1/'.repeat(20_000)}:pull`,
  ]
  const begun = performance.now()
  parseScopes(strange)
  assert.ok(performance.now() - begun < 1000)
  assert.deepEqual(parseScopes(['', ' ', 'a b c']), [])
  const [scope] = parseScopes(['repository:host:5000/a/b:pull,pull,push'])
  assert.deepEqual(scope, {
    type: 'repository',
    name: 'host:5000/a/b',
    actions: ['pull', 'push'],
  })
})

const digest = `sha256:${'a'.repeat(64)}`
const sif = { mediaType: 'application/vnd.sylabs.sif.layer.v1.sif', digest, size: 1 }
const tar = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: 1 }
const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'

function parsed(document: object, type = manifestType) {
  return parseManifest(Buffer.from(JSON.stringify(document)), type)
}

test('which manifests hold a SIF', () => {
  const config = { mediaType: 'application/vnd.sylabs.sif.config.v1+json', digest, size: 2 }
  const of = (...layers: object[]) => sifLayerOf(parsed({ schemaVersion: 2, config, layers }))
  assert.equal(of(sif)?.digest, digest)
  const prototype = { ...sif, mediaType: 'appliciation/vnd.sylabs.sif.layer.tar' }
  assert.equal(of(prototype)?.digest, digest)
  assert.equal(of(), undefined)
  assert.equal(of(tar), undefined)
  assert.equal(of(sif, sif), undefined)
  assert.equal(of(sif, tar), undefined)
  const index = parsed({ schemaVersion: 2, manifests: [sif] }, indexType)
  assert.equal(sifLayerOf(index), undefined)
})

test('the type comes from the header, or else from inside, and both agree', () => {
  const document = { schemaVersion: 2, manifests: [] }
  assert.equal(parsed(document, indexType).mediaType, indexType)
  assert.equal(parsed(document, ` ${indexType.toUpperCase()} ; charset=utf-8`).mediaType, indexType)
  const inside = Buffer.from(JSON.stringify({ ...document, mediaType: indexType }))
  assert.equal(parseManifest(inside, undefined).mediaType, indexType)
  assert.equal(parseManifest(inside, '').mediaType, indexType)
  assert.throws(() => parseManifest(inside, manifestType), /says/)
  assert.throws(() => parsed(document), Failure)
  assert.throws(() => parsed(document, 'application/json'), Failure)
})

test('messages of refusals quote no more than a line of what came', () => {
  const type = `text/${'\n\u001b[31m'.repeat(100)}`
  assert.throws(
    () => parsed({ schemaVersion: 2 }, type),
    // oxlint-disable-next-line no-control-regex
    ({ message }: Error) => message.length < 300 && !/[\u0000-\u001f]/.test(message),
  )
})
