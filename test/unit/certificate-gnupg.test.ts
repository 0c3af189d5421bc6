/** Keys that GnuPG has made are read with the facts that it states, and it reads what is kept of them. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { Gnupg, skipGnupg } from '../support/gnupg.ts'

const name = 'Alice (work) <alice@example.org>'

describe('GnuPG', { skip: skipGnupg }, () => {
  const reader = new CertificateReader()
  const gpg = new Gnupg()
  after(async () => {
    gpg.close()
    await reader.close()
  })

  const kinds: readonly (readonly [string, algorithm: number, bits: number])[] = [
    ['rsa2048', 1, 2048],
    ['rsa3072', 1, 3072],
    ['ed25519', 22, 256],
    ['nistp256', 19, 256],
    ['nistp521', 19, 521],
  ]
  for (const [kind, algorithm, bits] of kinds) {
    test(`a key of ${kind} with an end`, async () => {
      const userId = `${kind} <${kind}@example.org>`
      const fingerprint = gpg.makeKey(userId, kind, '1y')
      gpg.run(['--quick-add-key', fingerprint, 'ed25519', 'sign', '1y'])
      const certificate = await reader.read(gpg.exportKey(fingerprint, ['--armor']))
      const [pub] = gpg.fields(userId, 'pub')
      const seconds = (time: Date | undefined): string => String(Number(time) / 1000)
      // GnuPG 2.2 says 255 of Ed25519.
      assert.equal(pub?.[2], kind === 'ed25519' && pub?.[2] === '255' ? '255' : String(bits))
      assert.deepEqual(
        [pub?.[3], pub?.[5], pub?.[6]],
        [String(algorithm), seconds(certificate.createdAt), seconds(certificate.expiresAt)],
      )
      assert.deepEqual(
        [certificate.algorithm, certificate.bits, certificate.revoked],
        [algorithm, bits, false],
      )
      assert.deepEqual(certificate.keyFingerprints, gpg.fingerprints(userId))
      assert.equal(certificate.keyFingerprints.length, 2)
      assert.deepEqual(
        certificate.userIds.map(({ text, email }) => [text, email]),
        [[userId, `${kind}@example.org`]],
      )
      // Nothing of it is lost: GnuPG takes back what is kept, and there is nothing new in the rest.
      assertSame(gpg, fingerprint, reader.armor(certificate.bytes))
    })
  }

  test('user IDs and keys come and go: one added, one revoked, then the key itself', async () => {
    const fingerprint = gpg.makeKey(name, 'ed25519')
    const before = await reader.read(gpg.exportKey(fingerprint))
    gpg.run(['--quick-add-uid', fingerprint, 'Alice <alice@example.net>'])
    gpg.run(['--quick-revoke-uid', fingerprint, 'Alice <alice@example.net>'])
    const other = await reader.merge(before.bytes, gpg.exportKey(fingerprint))
    assert.deepEqual(
      other.userIds.map(({ text, revoked }) => [text, revoked]),
      [
        [name, false],
        ['Alice <alice@example.net>', true],
      ],
    )
    gpg.revoke(fingerprint)
    const after = await reader.merge(other.bytes, gpg.exportKey(fingerprint))
    assert.deepEqual([other.revoked, after.revoked], [false, true])
    assertSame(gpg, fingerprint, reader.armor(after.bytes))
  })

  test('a longer life, and what others say of the key', async () => {
    const userId = 'Bob <bob@example.org>'
    const fingerprint = gpg.makeKey(userId, 'rsa2048', '1d')
    const before = await reader.read(gpg.exportKey(fingerprint))
    gpg.makeKey('Carol', 'ed25519')
    gpg.run(['--default-key', '=Carol', '--quick-sign-key', fingerprint])
    const signed = await reader.read(gpg.exportKey(fingerprint))
    assert.ok(gpg.exportKey(fingerprint).length > signed.bytes.length)
    assert.ok(signed.bytes.equals(before.bytes))
    gpg.run(['--quick-set-expire', fingerprint, '2y'])
    const longer = await reader.merge(before.bytes, gpg.exportKey(fingerprint))
    const days = (Number(longer.expiresAt) - Number(longer.createdAt)) / 86_400_000
    assert.ok(days > 700, `${days} days`)
  })

  test('a key that is signed by SHA-1, a weak one and a secret one are refused', async () => {
    const sha1 = gpg.makeKey('Old', 'rsa2048', '0', ['--cert-digest-algo', 'SHA1'])
    await assert.rejects(reader.read(gpg.exportKey(sha1)), { message: /SHA-1/ })
    const weak = gpg.makeKey('Weak', 'rsa1024')
    await assert.rejects(reader.read(gpg.exportKey(weak)), { message: /1024 bits is too weak/ })
    const dsa = gpg.makeKey('Older', 'dsa2048')
    await assert.rejects(reader.read(gpg.exportKey(dsa)), { message: /DSA/ })
    for (const form of [[], ['--armor']]) {
      const secret = gpg.run([...form, '--export-secret-keys', sha1])
      await assert.rejects(reader.read(secret), { message: /secret key; nothing was stored/ })
    }
  })
})

/** A GnuPG that has never seen the key says of it what the one that made it says. */
function assertSame(made: Gnupg, fingerprint: string, armored: string): void {
  const other = new Gnupg()
  try {
    other.run(['--import'], armored)
    const view = (gpg: Gnupg): string => {
      const args = ['--with-colons', '--fixed-list-mode', '--with-sig-check', '--check-sigs']
      const lines = gpg
        .run([...args, fingerprint])
        .toString()
        .split('\n')
      // Without the trust that people have given to it, which is no part of a key.
      const kept = lines.filter((line) => /^(?:pub|uid|sub|fpr|sig|rev):/.test(line))
      return kept
        .map((line) => line.split(':').toSpliced(1, 1, trustless(line)).toSpliced(8, 1).join(':'))
        .sort()
        .join('\n')
    }
    assert.equal(view(other), view(made))
  } finally {
    other.close()
  }
}

/** Validity: of the letters only those that speak of the key itself. */
function trustless(line: string): string {
  const letter = line.split(':')[1] ?? ''
  return ['r', 'e', 'i', '!', '%'].includes(letter) ? letter : ''
}
