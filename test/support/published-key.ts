import assert from 'node:assert/strict'

import type { PublicKey } from 'openpgp'

import type { Client } from './client.ts'

/** Pushes a public key to the keystore, as the commands do it. */
export async function publishKey(who: Client, key: PublicKey): Promise<void> {
  const reply = await who.send('POST', '/pks/add', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ keytext: key.armor() }).toString(),
  })
  assert.equal(reply.status, 200, reply.body.toString())
}
