/** Signatures of images: which hold, and every way of tampering that must not. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { readKey, revokeKey } from 'openpgp'

import { SignatureThread } from '../../server/keystore/clear-signed.ts'
import type { FindCertificate } from '../../server/keystore/clear-signed.ts'
import { verdictOf } from '../../server/keystore/image-verdict.ts'
import type { Verdict, VerdictState } from '../../server/keystore/image-verdict.ts'
import type { ByteSource } from '../../server/sif/inspect.ts'
import { makeSif, memorySource } from '../support/sif.ts'
import {
  addObject,
  addSignature,
  dsseEnvelope,
  keystoreOf,
  legacySignature,
  makeKey,
  signSif,
  signature,
  slotAt,
} from '../support/signed-sif.ts'
import type { SigningOptions, TestKey } from '../support/signed-sif.ts'

const REAL_IMAGES = join(import.meta.dirname, '../../../../shared/testdata')
const DATA = 32_768
const base = makeSif({ payload: 8192, definition: 'Bootstrap: scratch\n', labels: { a: 'b' } })
const twoGroups = makeSif({
  payload: 64,
  objects: [
    { dataType: 0x4007, content: 'of group 2', group: 2 },
    { dataType: 0x4006, content: '{}', group: 2 },
  ],
})

const thread = new SignatureThread()
let alice: TestKey
let bob: TestKey
let stranger: TestKey
let keystore: FindCertificate

before(async () => {
  ;[alice, bob, stranger] = await Promise.all([makeKey('alice'), makeKey('bob'), makeKey('eve')])
  keystore = keystoreOf(alice.publicKey, bob.publicKey)
})
after(() => thread.close())

const verdict = (image: Buffer, find = keystore): Promise<Verdict> =>
  verdictOf(memorySource(image), find, thread)

/** Signed by alice, then changed. */
async function tampered(
  change: (image: Buffer) => Buffer | void,
  image = base,
  options: SigningOptions = {},
): Promise<Buffer> {
  const signed = await signSif(image, alice, options)
  return change(signed) ?? signed
}

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

  test('with each group signed by somebody', async () => {
    const one = await signSif(twoGroups, alice, { group: 1 })
    const both = await signSif(one, bob, { group: 2 })
    assert.equal((await verdict(both)).state, 'verified')
  })

  for (const digest of [
    'sha224',
    'sha256',
    'sha384',
    'sha512',
    'sha512_224',
    'sha512_256',
  ] as const) {
    test(`with digests of ${digest}`, async () => {
      assert.equal((await verdict(await signSif(base, alice, { digest }))).state, 'verified')
    })
  }

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

  test('when only what signatures leave open was changed', async () => {
    const rearranged = await tampered((image) => {
      const slot = slotAt(image, 0)
      const [offset, size] = [Number(slot.readBigInt64LE(17)), Number(slot.readBigInt64LE(25))]
      slot.writeBigInt64LE(BigInt(image.length), 17)
      return Buffer.concat([image, image.subarray(offset, offset + size)])
    })
    const touched = await tampered((image) => {
      image.writeBigInt64LE(7n, 72)
      slotAt(image, 1).writeBigInt64LE(7n, 49)
      slotAt(image, 1).writeBigInt64LE(7n, 33)
    })
    const padded = await tampered((image) => Buffer.concat([image, Buffer.alloc(100)]))
    for (const image of [rearranged, touched, padded]) {
      assert.equal((await verdict(image)).state, 'verified')
    }
  })

  test('when text stands before and behind the signed message, which counts for nothing', async () => {
    const other = JSON.stringify({ version: 1, header: {}, objects: [] })
    const content = `${other}\n${await signature(base, alice)}\n${other}\n`
    const image = addSignature(base, content, { fingerprint: alice.fingerprint })
    assert.equal((await verdict(image)).state, 'verified')
  })

  test('when a legacy signature is there too, or one of a group that is not', async () => {
    const signed = await signSif(base, alice)
    const legacy = addSignature(signed, await legacySignature(bob, '00'.repeat(32)))
    const [, second] = (await verdict(legacy)).signers
    assert.equal((await verdict(legacy)).state, 'verified')
    assert.equal(second?.state, 'legacy')

    const astray = addSignature(signed, await signature(base, stranger), { group: 7 })
    const found = await verdict(astray)
    assert.deepEqual([found.state, found.signers[1]?.state], ['verified', 'invalid'])
  })
})

describe('an image is not verified when', () => {
  type Make = () => Buffer | Promise<Buffer>
  const cases: readonly (readonly [string, Make, VerdictState, RegExp])[] = [
    ['nobody signed it', () => base, 'unsigned', /not signed/],
    ['it has no objects', () => addSignature(makeSif(), 'x', { link: 1 }), 'invalid', /not hold/],

    // The key
    ['the key is unknown', () => signSif(base, stranger), 'unknown-key', /not in this keystore/],
    [
      'one of two keys is unknown',
      async () => await signSif(await signSif(base, alice), stranger),
      'unknown-key',
      /not in this keystore/,
    ],
    [
      'the descriptor names another key',
      async () =>
        addSignature(base, await signature(base, alice), { fingerprint: bob.fingerprint }),
      'invalid',
      /names another key/,
    ],
    [
      'the descriptor names no key',
      async () => addSignature(base, await signature(base, alice), {}),
      'invalid',
      /names another key/,
    ],
    [
      'the descriptor names no hash',
      async () =>
        addSignature(base, await signature(base, alice), {
          fingerprint: alice.fingerprint,
          hashType: 0,
        }),
      'invalid',
      /no known hash/,
    ],

    // The header
    [
      'the launch script was changed',
      () => tampered((i) => void i.write('#!/bin/sh')),
      'invalid',
      /header/,
    ],
    [
      'the ID was changed',
      () => tampered((i) => void i.writeUInt8(1 + i.readUInt8(50), 50)),
      'invalid',
      /header/,
    ],

    // Descriptors
    [
      'a type was changed',
      () => tampered((i) => void slotAt(i, 0).writeInt32LE(0x4007)),
      'invalid',
      /description of object 1/,
    ],
    [
      'a link was made',
      () => tampered((i) => void slotAt(i, 1).writeUInt32LE(1, 13)),
      'invalid',
      /description of object 2/,
    ],
    [
      'an object was cut',
      () => tampered((i) => void slotAt(i, 0).writeBigInt64LE(3n, 25)),
      'invalid',
      /description of object 1/,
    ],
    [
      'a creation time was changed',
      () => tampered((i) => void slotAt(i, 0).writeBigInt64LE(3n, 41)),
      'invalid',
      /description of object 1/,
    ],
    [
      'an owner was changed',
      () => tampered((i) => void slotAt(i, 0).writeBigInt64LE(3n, 57)),
      'invalid',
      /description of object 1/,
    ],
    [
      'a name was changed',
      () => tampered((i) => void slotAt(i, 2).write('x', 73)),
      'invalid',
      /description of object 3/,
    ],
    [
      'a file system was changed',
      () => tampered((i) => void slotAt(i, 2).writeInt32LE(2, 201)),
      'invalid',
      /description of object 3/,
    ],
    [
      'two objects changed their IDs',
      () =>
        tampered((i) => {
          slotAt(i, 0).writeUInt32LE(2, 5)
          slotAt(i, 1).writeUInt32LE(1, 5)
        }),
      'invalid',
      /description of object/,
    ],

    // Contents
    [
      'the first byte of the partition was changed',
      () => tampered((i) => void i.writeUInt8(1, offsetOf(i, 2))),
      'invalid',
      /object 3 of the image was changed/,
    ],
    [
      'the last byte of the definition was changed',
      () => tampered((i) => void i.write('!', DATA + 18)),
      'invalid',
      /object 1 of the image was changed/,
    ],
    [
      'an object shows other content',
      () => tampered((i) => void slotAt(i, 0).writeBigInt64LE(BigInt(DATA + 1), 17)),
      'invalid',
      /object 1 of the image was changed/,
    ],

    // What is covered
    [
      'an object was added',
      () => tampered((i) => addObject(i, { dataType: 0x4007, content: 'x', group: 1 })),
      'partial',
      /leaves out object 5/,
    ],
    [
      'an object was removed',
      () => tampered(removeFirst, base),
      'invalid',
      /which was signed, is not there|description/,
    ],
    [
      'an object moved to another group',
      () => tampered((i) => void slotAt(i, 2).writeUInt32LE(0xf0000002, 9)),
      'invalid',
      /object 3, which was signed, is not there/,
    ],
    [
      'only one object was signed',
      () => signSif(base, alice, { ids: [3] }),
      'partial',
      /leaves out objects 1, 2/,
    ],
    [
      'only one object was signed, which was changed',
      () => tampered((i) => void i.writeUInt8(1, offsetOf(i, 2)), base, { ids: [3] }),
      'invalid',
      /object 3/,
    ],
    [
      'only one of two groups was signed',
      () => signSif(twoGroups, alice, { group: 2 }),
      'partial',
      /Nobody has signed group 1/,
    ],
    [
      'an object is in no group',
      async () =>
        await signSif(addObject(base, { dataType: 0x4007, content: 'x', group: 0 }), alice),
      'partial',
      /object 4, being in no group/,
    ],
    [
      'it was signed for another image',
      () => addedFrom(makeSif({ seed: 2 })),
      'invalid',
      /changed after it was signed/,
    ],

    // The statement
    [
      'its digests are SHA-1',
      () => signSif(base, alice, { digest: 'sha1' }),
      'invalid',
      /no statement/,
    ],
    [
      'a digest is cut',
      () => signSif(base, alice, { rewrite: (s) => s.replace(/[0-9a-f]{2}"/, '"') }),
      'invalid',
      /no statement/,
    ],
    [
      'the statement is no JSON',
      () => signSif(base, alice, { rewrite: () => 'all is well' }),
      'invalid',
      /no statement/,
    ],
    [
      'the statement names no object',
      () => signSif(base, alice, { ids: [] }),
      'partial',
      /leaves out/,
    ],
    [
      'the statement was changed',
      async () =>
        addSignature(base, (await signature(base, alice)).replace('"version":1', '"version":2'), {
          fingerprint: alice.fingerprint,
        }),
      'invalid',
      /does not fit/,
    ],

    // The form
    ['it is a DSSE envelope', () => addSignature(base, dsseEnvelope), 'dsse', /verify --key/],
    [
      'it is a DSSE envelope beside a good one',
      async () => addSignature(await signSif(base, alice), dsseEnvelope),
      'dsse',
      /verify --key/,
    ],
    [
      'it is a legacy signature',
      async () =>
        addSignature(base, await legacySignature(alice, '00'.repeat(32)), {
          link: 3,
          fingerprint: alice.fingerprint,
        }),
      'legacy',
      /before 3.6/,
    ],
    [
      'it is linked to an object',
      async () =>
        addSignature(base, await signature(base, alice), {
          link: 3,
          fingerprint: alice.fingerprint,
        }),
      'invalid',
      /no group of objects/,
    ],
    [
      'it is something else',
      () => addSignature(base, 'not a real signature', { fingerprint: alice.fingerprint }),
      'invalid',
      /neither of the two forms/,
    ],
    ['it is empty', () => addSignature(base, ''), 'invalid', /neither of the two forms/],
    [
      'its armor holds nothing',
      async () =>
        addSignature(
          base,
          (await signature(base, alice)).replace(/(-----BEGIN PGP SIGNATURE-----\n\n)[^-]*/, '$1'),
        ),
      'invalid',
      /cannot be read|not there/,
    ],
    [
      'it is cut off',
      async () => addSignature(base, (await signature(base, alice)).slice(0, -40)),
      'invalid',
      /neither of the two forms/,
    ],
    [
      'it has a header that could mislead',
      async () =>
        addSignature(
          base,
          (await signature(base, alice)).replace('Hash:', 'Comment: trust me\nHash:'),
        ),
      'invalid',
      /neither of the two forms/,
    ],
    [
      'it is too large',
      async () => addSignature(base, `${await signature(base, alice)}${' '.repeat(2 ** 18)}`),
      'invalid',
      /larger than/,
    ],
    ['one good of 65 is followed by junk', manySignatures, 'invalid', /only the first 64/],
  ]
  for (const [name, make, state, reason] of cases) {
    test(name, async () => {
      const found = await verdict(await make())
      assert.equal(found.state, state, found.reason)
      assert.match(found.reason ?? '', reason)
      assert.equal(found.signed, state !== 'unsigned')
    })
  }

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

    const tomorrow = await signSif(base, alice, { at: new Date(Date.now() + 86_400_000) })
    assert.match((await verdict(tomorrow)).reason ?? '', /in the future/)
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

  test('asks for the key by its fingerprint', async () => {
    const asked: string[] = []
    await verdict(await signSif(base, alice), async (name) => {
      asked.push(name)
      return await keystore(name)
    })
    assert.deepEqual(asked, [alice.fingerprint])
  })

  test('has a deadline, and goes on after it', async () => {
    // A parser that reads every header line is busy for a second.
    const hostile = {
      signed: Buffer.from('x'),
      armoredSignature: `-----BEGIN PGP SIGNATURE-----\n${'a: b\n'.repeat(200_000)}\n`,
    }
    const hasty = new SignatureThread(100)
    const found = await hasty.check(hostile, keystore)
    assert.deepEqual(found, { kind: 'bad', reason: 'it could not be checked within 0.1 seconds' })
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

function offsetOf(image: Buffer, index: number): number {
  return Number(slotAt(image, index).readBigInt64LE(17))
}

function removeFirst(image: Buffer): void {
  slotAt(image, 0).writeUInt8(0, 4)
  image.writeBigInt64LE(image.readBigInt64LE(80) + 1n, 80)
}

async function addedFrom(other: Buffer): Promise<Buffer> {
  return addSignature(base, await signature(other, alice), { fingerprint: alice.fingerprint })
}

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
