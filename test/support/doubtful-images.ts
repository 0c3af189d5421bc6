import type { VerdictState } from '../../server/keystore/image-verdict.ts'
/**
 * Images whose signatures hold, and every way of signing and tampering after which an image must not
 * be called verified. For our own verdict and for that of the clients, which must be the same.
 */
import { dsseEnvelope, makeSif } from './sif.ts'
import {
  addObject,
  addSignature,
  legacySignature,
  signSif,
  signature,
  slotAt,
} from './signed-sif.ts'
import type { SigningOptions, TestKey } from './signed-sif.ts'

/** The keystore has the keys of alice and bob. */
export interface Signers {
  readonly alice: TestKey
  readonly bob: TestKey
  readonly stranger: TestKey
}

type Make = () => Buffer | Promise<Buffer>

const DATA = 32_768

/** One group of three objects: definition, labels, partition. */
export const base = makeSif({
  payload: 8192,
  definition: 'Bootstrap: scratch\n',
  labels: { a: 'b' },
})

const twoGroups = makeSif({
  payload: 64,
  objects: [
    { dataType: 0x4007, content: 'of group 2', group: 2 },
    { dataType: 0x4006, content: '{}', group: 2 },
  ],
})

export function soundImages({
  alice,
  bob,
  stranger,
}: Signers): readonly (readonly [string, Make])[] {
  const digests = ['sha224', 'sha256', 'sha384', 'sha512', 'sha512_224', 'sha512_256'] as const
  return [
    ...digests.map(
      (digest) => [`with digests of ${digest}`, () => signSif(base, alice, { digest })] as const,
    ),
    ['by two people', async () => await signSif(await signSif(base, alice), bob)],
    [
      'with each group signed by somebody',
      async () => {
        const one = await signSif(twoGroups, alice, { group: 1 })
        return await signSif(one, bob, { group: 2 })
      },
    ],
    [
      'when an object was only moved',
      async () => {
        const image = await signSif(base, alice)
        const slot = slotAt(image, 0)
        const [offset, size] = [offsetOf(image, 0), Number(slot.readBigInt64LE(25))]
        slot.writeBigInt64LE(BigInt(image.length), 17)
        return Buffer.concat([image, image.subarray(offset, offset + size)])
      },
    ],
    [
      'when only times and paddings were changed',
      async () => {
        const image = await signSif(base, alice)
        image.writeBigInt64LE(7n, 72)
        slotAt(image, 1).writeBigInt64LE(7n, 49)
        slotAt(image, 1).writeBigInt64LE(7n, 33)
        return image
      },
    ],
    [
      'when something follows it',
      async () => Buffer.concat([await signSif(base, alice), Buffer.alloc(100)]),
    ],
    [
      'when text stands before and behind the signed message, which counts for nothing',
      async () => {
        const other = JSON.stringify({ version: 1, header: {}, objects: [] })
        const content = `${other}\n${await signature(base, alice)}\n${other}\n`
        return addSignature(base, content, { fingerprint: alice.fingerprint })
      },
    ],
    [
      'when a legacy signature is there too',
      async () =>
        addSignature(await signSif(base, alice), await legacySignature(bob, '00'.repeat(32))),
    ],
    [
      'when there is a signature of a group that is not there',
      async () => {
        const astray = await signature(base, stranger)
        return addSignature(await signSif(base, alice), astray, { group: 7 })
      },
    ],
  ]
}

/** Name, image, verdict, and what its reason says. */
export function doubtfulImages({
  alice,
  bob,
  stranger,
}: Signers): readonly (readonly [string, Make, VerdictState, RegExp])[] {
  return [
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
  ]

  /** Signed by alice, then changed. */
  async function tampered(
    change: (image: Buffer) => Buffer | void,
    image = base,
    options: SigningOptions = {},
  ): Promise<Buffer> {
    const signed = await signSif(image, alice, options)
    return change(signed) ?? signed
  }

  async function addedFrom(other: Buffer): Promise<Buffer> {
    return addSignature(base, await signature(other, alice), { fingerprint: alice.fingerprint })
  }
}

export function offsetOf(image: Buffer, index: number): number {
  return Number(slotAt(image, index).readBigInt64LE(17))
}

function removeFirst(image: Buffer): void {
  slotAt(image, 0).writeUInt8(0, 4)
  image.writeBigInt64LE(image.readBigInt64LE(80) + 1n, 80)
}
