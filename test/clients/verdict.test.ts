/**
 * Our verdict and that of `apptainer verify` on the same images with the same keys: where one says
 * that an image is verified, so must the other. Files that are refused at a push get no verdict.
 */
import assert from 'node:assert/strict'
import { chownSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { readKey, readKeys, revokeKey } from 'openpgp'
import type { PublicKey } from 'openpgp'

import { Failure } from '../../server/failure.ts'
import { SignatureThread } from '../../server/keystore/clear-signed.ts'
import { verdictOf } from '../../server/keystore/image-verdict.ts'
import type { VerdictState } from '../../server/keystore/image-verdict.ts'
import { packageRoot } from '../../server/package-root.ts'
import { base, doubtfulImages, offsetOf, soundImages } from '../support/doubtful-images.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif, memorySource } from '../support/sif.ts'
import { addObject, keystoreOf, makeKey, signSif, slotAt } from '../support/signed-sif.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'
import type { Apptainer } from './apptainer-root.ts'

const root = findApptainerRoot()
// With CI=true a missing root fails in openApptainer: .ci/run has made it.
const skip =
  root === undefined && process.env['CI'] !== 'true'
    ? 'there is no Apptainer root; as root, .ci/apptainer-root makes it'
    : false

const realImages = join(packageRoot, '../shared/testdata')
const thread = new SignatureThread()
test.after(() => thread.close())

test('images that Apptainer signed, and what became of them', { skip }, async (t) => {
  // Beside the images, where the test reads the public ones.
  const site = openApptainer(t, { root, environment: { APPTAINER_KEYSDIR: '/mnt/keys' } })
  const stranger = openApptainer(t, { root, work: site.work })
  await Promise.all([makeKeys(site, 'alice', 'bob'), makeKeys(stranger, 'eve')])
  const keys = await readKeys({ binaryKeys: readFileSync(join(site.work, 'keys/pgp-public')) })
  assert.equal(keys.length, 2)
  const compare = comparison(site, keys)

  writeFileSync(join(site.work, 'hello.def'), 'Bootstrap: scratch\n%labels\n  a b\n')
  await done(site, 'build', 'built.sif', 'hello.def')
  writeFileSync(join(site.work, 'groups.sif'), groupsSif())
  chownSync(join(site.work, 'groups.sif'), 1000, 1000)
  const signed = async (
    name: string,
    image: string,
    ...signatures: readonly (readonly [Apptainer, ...string[]])[]
  ): Promise<Buffer> => {
    copyFileSync(join(site.work, image), join(site.work, name))
    chownSync(join(site.work, name), 1000, 1000)
    for (const [who, ...options] of signatures) await done(who, 'sign', ...options, name)
    return readFileSync(join(site.work, name))
  }
  const alice = [site, '--keyidx', '0'] as const
  const bob = [site, '--keyidx', '1'] as const
  const eve = [stranger, '--keyidx', '0'] as const

  // Each name is that of the file too.
  const one = await signed('one.sif', 'built.sif', alice)
  const single = await signed('single.sif', 'built.sif', [...alice, '--sif-id', '1'])
  await compare('unsigned', readFileSync(join(site.work, 'built.sif')), 'unsigned')
  await compare('one key', one, 'verified')
  await compare('two keys', await signed('two.sif', 'built.sif', alice, bob), 'verified')
  await compare('a foreign key', await signed('eve.sif', 'built.sif', eve), 'unknown-key')
  await compare(
    'a foreign key too',
    await signed('a-e.sif', 'built.sif', alice, eve),
    'unknown-key',
  )
  await compare('a single object', single, 'partial')
  await compare(
    'a single object and the whole',
    await signed('single-whole.sif', 'built.sif', [...alice, '--sif-id', '1'], bob),
    'partial',
  )
  await compare('all groups', await signed('groups-all.sif', 'groups.sif', alice), 'verified')
  const first = [...alice, '--group-id', '1'] as const
  const second = [...bob, '--group-id', '2'] as const
  await compare('one group', await signed('group-1.sif', 'groups.sif', first), 'partial')
  await compare(
    'each group by somebody else',
    await signed('groups-each.sif', 'groups.sif', first, second),
    'verified',
  )

  // Every used byte of header and table that could matter is changed once; some are not covered.
  for (const place of [0, 20, 33, 43, 46, 50, 63, 64, 72, 80, 89, 97, 105, 121]) {
    await compare(`byte ${place} of the header`, changed(one, place))
  }
  for (const index of [0, 1, 2]) {
    for (const place of [0, 4, 5, 9, 12, 13, 17, 25, 33, 41, 49, 57, 65, 73, 201, 205, 500]) {
      await compare(
        `byte ${place} of descriptor ${index}`,
        changed(one, slotPlace(one, index) + place),
      )
    }
    await compare(`content ${index}`, changed(one, offsetOf(one, index)), 'invalid')
  }
  const signature = usedSlots(one) - 1
  for (const place of [0, 4, 5, 9, 12, 13, 16, 25, 41, 201, 205, 224, 300]) {
    const at = slotPlace(one, signature) + place
    await compare(`byte ${place} of the signature's descriptor`, changed(one, at))
  }
  for (let place = 0; place < one.length - offsetOf(one, signature); place += 97) {
    const at = offsetOf(one, signature) + place
    await compare(`byte ${place} of the signature`, changed(one, at))
  }
  const added = { dataType: 0x4007, content: 'x' }
  await compare('an object more', addObject(one, { ...added, group: 1 }), 'partial')
  await compare('an object of no group', addObject(one, { ...added, group: 0 }))
  await compare('a group more', addObject(one, { ...added, group: 2 }), 'partial')
  compare.print(t)
})

test('images of every kind that the tests know', { skip }, async (t) => {
  const site = openApptainer(t, { root })
  const [alice, bob, stranger] = await Promise.all([
    makeKey('alice'),
    makeKey('bob'),
    makeKey('eve'),
  ])
  const keys = [alice.publicKey, bob.publicKey]
  for (const key of keys) await importKey(site, key)
  const compare = comparison(site, keys)
  for (const [name, make] of soundImages({ alice, bob, stranger })) {
    await compare(name, await make(), 'verified')
  }
  for (const [name, make, state] of doubtfulImages({ alice, bob, stranger })) {
    await compare(name, await make(), state)
  }
  compare.print(t)
})

test('keys that may not sign any more, or never might', { skip }, async (t) => {
  const createdAt = new Date(Date.now() - 7_200_000)
  const [rsa, weak, subkey, expired, revoked] = await Promise.all([
    makeKey('rsa', { type: 'rsa' }),
    makeKey('weak', { type: 'rsa', hash: 'sha1' }),
    makeKey('subkey', { signingSubkey: true }),
    makeKey('expired', { createdAt, lifetimeSeconds: 3600 }),
    makeKey('revoked'),
  ])
  const gone = await revokeKey({ key: revoked.privateKey, format: 'object' })
  const keys = [rsa, weak, subkey, expired].map(({ publicKey }) => publicKey)
  const site = openApptainer(t, { root })
  for (const key of [...keys, gone.publicKey]) await importKey(site, key)
  const compare = comparison(site, [...keys, gone.publicKey])

  await compare('RSA', await signSif(base, rsa, { hash: 'sha512' }), 'verified')
  await compare('a subkey', await signSif(base, subkey), 'verified')
  await compare('SHA-1', await signSif(base, weak, { hash: 'sha1' }), 'invalid')
  const inTime = new Date(Date.now() - 7_000_000)
  await compare('expired since', await signSif(base, expired, { at: inTime }), 'invalid')
  await compare('revoked', await signSif(base, revoked), 'invalid')
  const tomorrow = new Date(Date.now() + 86_400_000)
  await compare('of tomorrow', await signSif(base, rsa, { at: tomorrow }), 'invalid')
  compare.print(t)
})

test('real images of others', { skip: skip || noRealImages() }, async (t) => {
  const armoredKey = readFileSync(join(realImages, 'pgp-public.asc'), 'utf8')
  const key = await readKey({ armoredKey })
  const site = openApptainer(t, { root })
  await importKey(site, key)
  const compare = comparison(site, [key])
  const cases: readonly (readonly [string, VerdictState])[] = [
    ['busybox_amd64', 'unknown-key'],
    ['busybox_arm64', 'unknown-key'],
    ['busybox_ppc64le', 'unknown-key'],
    ['one-group', 'unsigned'],
    ['one-group-signed-pgp', 'verified'],
    ['one-group-signed-dsse', 'dsse'],
    ['empty', 'unsigned'],
  ]
  for (const [name, state] of cases) {
    await compare(name, readFileSync(join(realImages, `${name}.sif`)), state)
  }
  compare.print(t)
})

test(
  'signed, published and pushed with the stock commands, and found as signed',
  { skip },
  async (t) => {
    const server = await startServer(t)
    const { credentials } = await server.account('alice')
    const node = openApptainer(t, { root })
    node.useRemote(server.url, credentials?.token)
    writeFileSync(join(node.work, 'hello.def'), 'Bootstrap: scratch\n%labels\n  a b\n')
    await done(node, 'build', 'hello.sif', 'hello.def')
    await done(node, 'build', 'plain.sif', 'hello.def')
    await makeKeys(node, 'alice')
    await done(node, 'sign', '--keyidx', '0', 'hello.sif')
    await done(node, 'push', '-U', 'hello.sif', 'library://alice/demo/hello:v1')
    await done(node, 'push', '-U', 'plain.sif', 'library://alice/demo/hello:plain')
    const read = async (): Promise<Shown> =>
      (await server.anonymous.get('/v1/images/alice/demo/hello:v1')).json.data as Shown
    const [fingerprint = assert.fail()] = (await read()).fingerprints
    assert.equal((await read()).signatureState, 'unknown-key')

    await done(node, 'key', 'push', fingerprint)
    await eventually(async () => (await read()).verified, 'the image is verified')
    assert.deepEqual(
      (await read()).signers.map((signer) => [signer.account, signer.fingerprint]),
      [['alice', fingerprint]],
    )
    // Somebody who has none of these keys asks the keystore.
    const other = openApptainer(t, { root, work: node.work })
    other.useRemote(server.url)
    await done(other, 'verify', 'hello.sif')
    const found = await other.run('search', '--signed', 'hello')
    assert.match(found.stdout, /library:\/\/alice\/demo\/hello:v1\n/)
    assert.match(found.stdout, new RegExp(`Signed by: ${fingerprint}`))
    assert.doesNotMatch(found.stdout, /plain/)
  },
)

/** Of an image as the library shows it. */
interface Shown {
  readonly verified: boolean
  readonly signatureState: string
  readonly fingerprints: readonly string[]
  readonly signers: readonly { readonly account: string | null; readonly fingerprint: string }[]
}

interface Comparison {
  /** Fails where the two differ, or ours is not `state`. */
  (name: string, image: Buffer, state?: VerdictState): Promise<void>
  print(t: test.TestContext): void
}

function comparison(site: Apptainer, keys: readonly PublicKey[]): Comparison {
  const keystore = keystoreOf(...keys)
  const counts = { verified: 0, refused: 0, notTaken: 0 }
  const compare = async (name: string, image: Buffer, state?: VerdictState): Promise<void> => {
    const file = join(site.work, 'compared.sif')
    writeFileSync(file, image)
    const ours = await verdictOf(memorySource(image), keystore, thread).catch(refusal)
    if (ours === undefined) {
      counts.notTaken += 1
      return
    }
    const theirs = await site.run('verify', '--local', 'compared.sif')
    const told = `${name}: ${ours.state} (${ours.reason}), and Apptainer: ${theirs.stderr}`
    assert.equal(ours.state === 'verified', theirs.status === 0, told)
    if (state !== undefined) assert.equal(ours.state, state, told)
    counts[theirs.status === 0 ? 'verified' : 'refused'] += 1
  }
  const print = (t: test.TestContext): void =>
    t.diagnostic(
      `agreed on ${counts.verified} verified and ${counts.refused} refused images, ` +
        `${counts.notTaken} would not have been taken`,
    )
  return Object.assign(compare, { print })
}

function refusal(error: unknown): undefined {
  if (error instanceof Failure && error.kind === 'invalid') return undefined
  throw error
}

async function done(who: Apptainer, ...args: readonly string[]): Promise<void> {
  const { status, stderr } = await who.run(...args)
  assert.equal(status, 0, stderr)
}

async function makeKeys(who: Apptainer, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const person = ['--name', name, '--email', `${name}@example.org`, '--comment', 'test']
    await done(who, 'key', 'newpair', ...person, '--password', '', '--push=false')
  }
}

async function importKey(who: Apptainer, key: PublicKey): Promise<void> {
  writeFileSync(join(who.work, 'import.asc'), key.armor())
  await done(who, 'key', 'import', 'import.asc')
}

function groupsSif(): Buffer {
  return makeSif({
    payload: 4096,
    objects: [
      { dataType: 0x4007, content: 'of group 2', group: 2 },
      { dataType: 0x4006, content: '{}', group: 2 },
    ],
  })
}

function changed(image: Buffer, place: number): Buffer {
  const copy = Buffer.from(image)
  copy.writeUInt8(copy.readUInt8(place) ^ 1, place)
  return copy
}

function slotPlace(image: Buffer, index: number): number {
  return slotAt(image, index).byteOffset - image.byteOffset
}

function usedSlots(image: Buffer): number {
  return Number(image.readBigInt64LE(88) - image.readBigInt64LE(80))
}

function noRealImages(): string | false {
  return existsSync(realImages) ? false : `NOT RUN: ${realImages} is not on this machine`
}
