/** Which certificates are read, in which forms, and in which bytes they are kept. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { armor, enums, readKey } from 'openpgp'
import type { KeyOptions } from 'openpgp'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { aliceText, makeKey, publicBytes } from '../support/certificates.ts'

const reader = new CertificateReader()
after(() => reader.close())

describe('kinds of keys', () => {
  const kinds: [string, Partial<KeyOptions>, version: number, algorithm: number, bits: number][] = [
    ['RSA 2048', { type: 'rsa', rsaBits: 2048 }, 4, 1, 2048],
    ['RSA 4096', { type: 'rsa', rsaBits: 4096 }, 4, 1, 4096],
    ['Ed25519', { type: 'curve25519' }, 4, 27, 256],
    ['Ed25519 as GnuPG has it', { type: 'ecc', curve: 'ed25519Legacy' }, 4, 22, 256],
    ['Ed448', { type: 'curve448' }, 4, 28, 448],
    ['NIST P-256', { type: 'ecc', curve: 'nistP256' }, 4, 19, 256],
    ['NIST P-384', { type: 'ecc', curve: 'nistP384' }, 4, 19, 384],
    ['NIST P-521', { type: 'ecc', curve: 'nistP521' }, 4, 19, 521],
    ['version 6, Ed25519', { type: 'curve25519', config: { v6Keys: true } }, 6, 27, 256],
    [
      'version 6, NIST P-256',
      { curve: 'nistP256', type: 'ecc', config: { v6Keys: true } },
      6,
      19,
      256,
    ],
    ['version 6, RSA 2048', { type: 'rsa', rsaBits: 2048, config: { v6Keys: true } }, 6, 1, 2048],
  ]
  for (const [name, options, version, algorithm, bits] of kinds) {
    test(`${name} is read with its facts, and reads again the same`, async () => {
      const key = await makeKey({ ...options, subkeys: [{ sign: true }] })
      const certificate = await reader.read(key.toPublic().armor())
      const { bytes, userIds, keyFingerprints, keyIds, ...facts } = certificate
      assert.deepEqual(facts, {
        fingerprint: key.getFingerprint().toUpperCase(),
        version,
        algorithm,
        bits,
        createdAt: key.getCreationTime(),
        expiresAt: undefined,
        revoked: false,
      })
      const keys = key.getKeys()
      assert.equal(keys.length, 2)
      assert.deepEqual(
        keyFingerprints,
        keys.map((each) => each.getFingerprint().toUpperCase()),
      )
      assert.deepEqual(
        keyIds,
        keys.map((each) => each.getKeyID().toHex().toUpperCase()),
      )
      assert.deepEqual(userIds, [
        {
          text: aliceText,
          email: 'alice@example.org',
          createdAt: key.getCreationTime(),
          expiresAt: undefined,
          revoked: false,
        },
      ])
      assert.deepEqual(await reader.read(bytes), certificate)
      assert.deepEqual(await reader.read(reader.armor(bytes)), certificate)
      const back = await readKey({ armoredKey: reader.armor(bytes) })
      assert.equal(back.getFingerprint(), key.getFingerprint())
      await back.verifyPrimaryKey()
      await back.getSigningKey(back.getSubkeys()[0]?.getKeyID())
    })
  }

  test('the encryption subkey that the library makes by default is found by its ID', async () => {
    const key = await makeKey()
    const { keyFingerprints } = await reader.read(publicBytes(key))
    assert.deepEqual(
      keyFingerprints,
      key.getKeys().map((each) => each.getFingerprint().toUpperCase()),
    )
  })
})

describe('armor', () => {
  const forms: [string, (armored: string) => string | Buffer][] = [
    ['with CRLF', (text) => text.replaceAll('\n', '\r\n')],
    ['without its checksum', (text) => text.replace(/^=.{4}$/m, '')],
    ['with a wrong checksum', (text) => text.replace(/^=.{4}$/m, '=AAAA')],
    ['with headers', (text) => text.replace('\n\n', '\nVersion: 1\nComment: a: b\n\n')],
    ['with blanks at the ends of lines', (text) => text.replaceAll('\n', '  \n')],
    ['with text around it', (text) => `Here it is:\n\n${text}\n-- \nAlice\n`],
    ['as a Buffer', (text) => Buffer.from(text)],
    ['in one line', (text) => text.replace(/(?<=[\w+/])\n(?=[\w+/])/g, '')],
    ['with empty lines in it', (text) => text.replaceAll('\n', '\n\n')],
  ]
  for (const [name, form] of forms) {
    test(`${name} is read`, async () => {
      const key = await makeKey()
      const { bytes } = await reader.read(publicBytes(key))
      const armored = reader.armor(bytes)
      assert.match(armored, /^=.{4}$/m)
      assert.ok((await reader.read(form(armored))).bytes.equals(bytes))
    })
  }

  test('has the checksum that the library computes', async () => {
    const bytes = publicBytes(await makeKey({ type: 'rsa', rsaBits: 2048 }))
    const type = enums.armor.publicKey
    const written = armor(type, bytes, undefined, undefined, undefined, true)
    const checksum = /^=.{4}$/m
    assert.deepEqual(checksum.exec(reader.armor(bytes))?.[0], checksum.exec(written)?.[0])
  })
})
