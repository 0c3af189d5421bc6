/** Keys over HKP, as the stock clients push and look for them (protocol.md 7). */
import assert from 'node:assert/strict'

import { readKey } from 'openpgp'
import type { Key, PrivateKey } from 'openpgp'

import { armor } from '../../server/keystore/armor.ts'
import { makeKey, publicBytes } from './certificates.ts'
import type { Client, Reply } from './client.ts'

/** A key whose user ID names the account in the way that ABCI shows. */
export async function keyOf(
  name: string,
  options: Parameters<typeof makeKey>[0] = {},
): Promise<PrivateKey> {
  // The library takes addresses only with an @; the name is enough.
  return await makeKey({ userIDs: [{ name, comment: 'work' }], ...options })
}

export function fingerprintOf(key: Key): string {
  return key.getFingerprint().toUpperCase()
}

/** The last 16 digits of a fingerprint of version 4. */
export function keyIdOf(key: Key): string {
  return fingerprintOf(key).slice(-16)
}

/** POST /pks/add with `keytext`, the armored block. */
export async function add(client: Client, key: PrivateKey | Buffer | string): Promise<Reply> {
  const text = typeof key === 'string' ? key : armor(Buffer.isBuffer(key) ? key : publicBytes(key))
  return await client.send('POST', '/pks/add', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ keytext: text }).toString(),
  })
}

/** The same where it must succeed. */
export async function added(client: Client, key: PrivateKey | Buffer): Promise<void> {
  const reply = await add(client, key)
  assert.equal(reply.status, 200, reply.body.toString())
}

export async function lookup(
  client: Client,
  search: string,
  options: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  const query = new URLSearchParams({ op: 'get', search, ...options })
  return await client.get(`/pks/lookup?${query.toString()}`)
}

/** The one key that `op=get` gives. */
export async function got(client: Client, search: string): Promise<Key> {
  const reply = await lookup(client, search)
  assert.equal(reply.status, 200, reply.body.toString())
  assert.match(String(reply.headers['content-type']), /^application\/pgp-keys\b/)
  return await readKey({ armoredKey: reply.body.toString() })
}

/** Lines of the machine-readable index as fields; none where nothing was found. */
export async function index(
  client: Client,
  search: string,
  options: Readonly<Record<string, string>> = {},
): Promise<string[][]> {
  const reply = await lookup(client, search, { op: 'index', options: 'mr', ...options })
  if (reply.status === 404) return []
  assert.equal(reply.status, 200, reply.body.toString())
  const lines = reply.body.toString().split('\n')
  assert.equal(lines.pop(), '')
  return lines.map((line) => line.split(':'))
}

/** Fingerprints of the keys in an index. */
export async function found(
  client: Client,
  search: string,
  options: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const lines = await index(client, search, options)
  return lines.filter(([kind]) => kind === 'pub').map(([, fingerprint = '']) => fingerprint)
}
