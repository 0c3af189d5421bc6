/** Signatures of images: which hold, and every way of tampering that must not. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'

import { readKey, revokeKey } from 'openpgp'

import { SignatureThread } from '../../server/keystore/clear-signed.ts'
import { verdictOf } from '../../server/keystore/image-verdict.ts'
import type { FindCertificate, Verdict, VerdictState } from '../../server/keystore/image-verdict.ts'
import type { ByteSource } from '../../server/sif/inspect.ts'
import { base, doubtfulImages, offsetOf, soundImages } from '../support/doubtful-images.ts'
import { memorySource } from '../support/sif.ts'
import {
  addSignature,
  keystoreOf,
  legacySignature,
  makeKey,
  signSif,
  signature,
  slotAt,
} from '../support/signed-sif.ts'

const REAL_IMAGES = join(import.meta.dirname, '../../../../shared/testdata')
const thread = new SignatureThread()
const [alice, bob, stranger] = await Promise.all([makeKey('alice'), makeKey('bob'), makeKey('eve')])
const keystore = keystoreOf(alice.publicKey, bob.publicKey)
after(() => thread.close())

const verdict = (image: Buffer, find: FindCertificate = keystore): Promise<Verdict> =>
  verdictOf(memorySource(image), find, thread)

describe('an image is verified', () => {
  test('when a key of the keystore has signed everything in it', async () => {
    const at = new Date(Math.floor(Date.now() / 1000) * 1000 - 5000)
    assert.deepEqual(await verdict(await signSif(base, alice, { at })), {
      signed: true,
      state: 'verified',
      signers: [
        {
          fingerprint: alice.fingerprint,
          keyId: alice.fingerprint.slice(-16),
          at,
          state: 'verified',
          reason: undefined,
        },
      ],
      reason: undefined,
      recheckAt: undefined,
    })
  })

  test('by two people', async () => {
    const found = await verdict(await signSif(await signSif(base, alice), bob))
    assert.equal(found.state, 'verified')
    assert.deepEqual(
      found.signers.map(({ fingerprint, state }) => [fingerprint, state]),
      [
        [alice.fingerprint, 'verified'],
        [bob.fingerprint, 'verified'],
      ],
    )
  })

  test('by an RSA key', async () => {
    const key = await makeKey('rsa', { type: 'rsa' })
    const image = await signSif(base, key, { hash: 'sha512' })
    assert.equal((await verdict(image, keystoreOf(key.publicKey))).state, 'verified')
  })

  test('by a subkey, in the name of the primary key', async () => {
    const key = await makeKey('subkey', { signingSubkey: true })
    const found = await verdict(await signSif(base, key), keystoreOf(key.publicKey))
    const subkey = key.publicKey.subkeys[0]?.getKeyID().toHex().toUpperCase()
    assert.equal(found.state, 'verified')
    assert.deepEqual(
      found.signers.map(({ fingerprint, keyId }) => [fingerprint, keyId]),
      [[key.fingerprint, subkey]],
    )
  })

  for (const [name, make] of soundImages({ alice, bob, stranger })) {
    test(name, async () => {
      const found = await verdict(await make())
      assert.equal(found.state, 'verified', found.reason)
    })
  }

  test('and what else is there counts for nothing', async () => {
    const signed = await signSif(base, alice)
    const legacy = addSignature(signed, await legacySignature(bob, '00'.repeat(32)))
    assert.equal((await verdict(legacy)).signers[1]?.state, 'legacy')
    const astray = addSignature(signed, await signature(base, stranger), { group: 7 })
    assert.equal((await verdict(astray)).signers[1]?.state, 'invalid')
  })
})

describe('an image is not verified when', () => {
  for (const [name, make, state, reason] of doubtfulImages({ alice, bob, stranger })) {
    test(name, async () => {
      const found = await verdict(await make())
      assert.equal(found.state, state, found.reason)
      assert.match(found.reason ?? '', reason)
      assert.equal(found.signed, state !== 'unsigned')
    })
  }

  // More than clients would mind: there must be an end to what one image can ask for.
  test('it has more signatures than are looked at', async () => {
    const found = await verdict(await manySignatures())
    assert.deepEqual([found.state, /only the first 64/.test(found.reason ?? '')], ['invalid', true])
  })

  test('the signature has an SHA-1 hash, of a key that may sign otherwise', async () => {
    const key = await makeKey('old', { type: 'rsa', hash: 'sha1' })
    const find = keystoreOf(key.publicKey)
    assert.equal((await verdict(await signSif(base, key), find)).state, 'verified')
    const weak = await verdict(await signSif(base, key, { hash: 'sha1' }), find)
    assert.equal(weak.state, 'invalid')
    assert.match(weak.reason ?? '', /its hash, SHA1,/)
  })

  test('the key has expired since, is revoked, or the time is in the future', async () => {
    const createdAt = new Date(Date.now() - 7_200_000)
    const expired = await makeKey('late', { createdAt, lifetimeSeconds: 3600 })
    const at = new Date(Date.now() - 7_000_000)
    const inTime = await signSif(base, expired, { at })
    const late = await verdict(inTime, keystoreOf(expired.publicKey))
    assert.deepEqual([late.state, /key has expired/.test(late.reason ?? '')], ['invalid', true])

    const { publicKey } = await revokeKey({ key: alice.privateKey, format: 'object' })
    const revoked = await verdict(await signSif(base, alice), keystoreOf(publicKey))
    assert.deepEqual([revoked.state, /revoked/.test(revoked.reason ?? '')], ['invalid', true])

    const tomorrow = new Date(Math.floor(Date.now() / 1000) * 1000 + 86_400_000)
    const early = await verdict(await signSif(base, alice, { at: tomorrow }))
    assert.match(early.reason ?? '', /in the future/)
    assert.deepEqual(early.recheckAt, tomorrow)
  })

  test('its key has expired, which the verdict foretold', async () => {
    const createdAt = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000)
    const key = await makeKey('mayfly', { createdAt, lifetimeSeconds: 3600 })
    const image = await signSif(base, key, { at: createdAt })
    const found = await verdict(image, keystoreOf(key.publicKey))
    assert.equal(found.state, 'verified', found.reason)
    assert.deepEqual(found.recheckAt, new Date(createdAt.getTime() + 3_600_000))
  })

  test('the keystore answers with the certificate of somebody else, or with none', async () => {
    const image = await signSif(base, alice)
    assert.equal(
      (await verdict(image, () => Promise.resolve(bob.publicKey.write()))).state,
      'invalid',
    )
    assert.equal(
      (await verdict(image, () => Promise.resolve(Buffer.from('junk')))).state,
      'invalid',
    )
  })

  test('its objects lie on top of each other', async () => {
    const offset = BigInt(offsetOf(base, 2))
    const stacked = Buffer.from(base)
    for (const index of [0, 1, 2, 3, 4, 5, 6, 7]) {
      if (index > 2) slotAt(stacked, 2).copy(slotAt(stacked, index))
      slotAt(stacked, index).writeUInt32LE(index + 1, 5)
      slotAt(stacked, index).writeBigInt64LE(offset - BigInt(index), 17)
      slotAt(stacked, index).writeBigInt64LE(8192n, 25)
    }
    stacked.writeBigInt64LE(stacked.readBigInt64LE(80) - 5n, 80)
    const found = await verdict(await signSif(stacked, alice))
    assert.deepEqual([found.state, /overlap/.test(found.reason ?? '')], ['invalid', true])
  })
})

describe('checking', () => {
  test('reads each content once, whoever signed it, and none that nobody known signed', async () => {
    const signed = await signSif(await signSif(base, alice), bob, { digest: 'sha512' })
    const counted = counting(memorySource(signed))
    assert.equal((await verdictOf(counted, keystore, thread)).state, 'verified')
    assert.deepEqual(counted.readsOf(offsetOf(base, 2)), 1)

    const foreign = counting(memorySource(await signSif(base, stranger)))
    assert.equal((await verdictOf(foreign, keystore, thread)).state, 'unknown-key')
    assert.deepEqual(foreign.readsOf(offsetOf(base, 2)), 0)
  })

  test('asks for the key by its fingerprint, in the certificate that the image names', async () => {
    const asked: (string | undefined)[][] = []
    await verdict(await signSif(base, alice), async (name, primary) => {
      asked.push([name, primary])
      return await keystore(name)
    })
    assert.deepEqual(asked, [[alice.fingerprint, alice.fingerprint]])
  })

  test('has a deadline, and goes on after it', async () => {
    // A parser that reads every header line is busy for a second.
    const hostile = {
      signed: Buffer.from('x'),
      armoredSignature: `-----BEGIN PGP SIGNATURE-----\n${'a: b\n'.repeat(200_000)}\n`,
    }
    const hasty = new SignatureThread(100)
    const found = await hasty.check(hostile, keystore)
    assert.ok(found.kind === 'bad' && found.again !== undefined && found.again > new Date())
    assert.equal(found.reason, 'it could not be checked within 0.1 seconds')
    assert.equal((await hasty.check({ ...hostile, armoredSignature: '' }, keystore)).kind, 'bad')
    await hasty.close()
  })

  test('takes its turn', async () => {
    const images = [await signSif(base, alice), await signSif(base, stranger), base]
    const found = await Promise.all(images.map((image) => verdict(image)))
    assert.deepEqual(
      found.map(({ state }) => state),
      ['verified', 'unknown-key', 'unsigned'],
    )
  })

  test('passes on what the source and the keystore throw', async () => {
    const image = await signSif(base, alice)
    const broken = { size: 40_000, read: () => Promise.reject(new Error('EIO')) }
    await assert.rejects(verdictOf(broken, keystore, thread), { message: 'EIO' })
    const away = (): Promise<undefined> => Promise.reject(new Error('database is away'))
    await assert.rejects(verdict(image, away), { message: 'database is away' })
    assert.equal((await verdict(image)).state, 'verified')
  })

  test('refuses what is no SIF image', async () => {
    await assert.rejects(verdict(Buffer.alloc(4096)), { kind: 'invalid', subject: 'image' })
  })
})

describe('real images', () => {
  const cases: readonly (readonly [string, VerdictState])[] = [
    ['busybox_amd64.sif', 'unknown-key'],
    ['busybox_arm64.sif', 'unknown-key'],
    ['busybox_ppc64le.sif', 'unknown-key'],
    ['one-group.sif', 'unsigned'],
    ['one-group-signed-pgp.sif', 'verified'],
    ['one-group-signed-dsse.sif', 'dsse'],
    ['empty.sif', 'unsigned'],
  ]
  for (const [name, state] of cases) {
    test(name, async (t) => {
      const image = readReal(name)
      const armoredKey = readReal('pgp-public.asc')?.toString()
      if (image === undefined || armoredKey === undefined) {
        return t.skip(`NOT RUN: ${REAL_IMAGES}/${name} is not on this machine`)
      }
      const found = await verdict(image, keystoreOf(await readKey({ armoredKey })))
      assert.equal(found.state, state, found.reason)
    })
  }
})

async function manySignatures(): Promise<Buffer> {
  const slots = 96
  const image = Buffer.concat([base, Buffer.alloc(slots * 585)])
  base.copy(image, base.length, 4096, 4096 + 48 * 585)
  image.writeBigInt64LE(BigInt(slots - 3), 80)
  image.writeBigInt64LE(BigInt(slots), 88)
  image.writeBigInt64LE(BigInt(base.length), 96)
  image.writeBigInt64LE(BigInt(slots * 585), 104)
  let signed = await signSif(image, alice)
  const { fingerprint } = alice
  const good = await signature(image, alice)
  for (let count = 1; count < 65; count += 1) signed = addSignature(signed, good, { fingerprint })
  return signed
}

function readReal(name: string): Buffer | undefined {
  const path = join(REAL_IMAGES, name)
  return existsSync(path) ? readFileSync(path) : undefined
}

function counting(source: ByteSource): ByteSource & { readsOf(offset: number): number } {
  const offsets: number[] = []
  return {
    size: source.size,
    read: (offset, length) => {
      offsets.push(offset)
      return source.read(offset, length)
    },
    readsOf: (offset) => offsets.filter((read) => read === offset).length,
  }
}
