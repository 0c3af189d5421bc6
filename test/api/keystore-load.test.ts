/** Whoever sends the server keys that are hard work keeps nobody else waiting. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { makeCostly } from '../support/certificates.ts'
import type { Client, Reply } from '../support/client.ts'
import { added, fingerprintOf, got, keyOf } from '../support/hkp.ts'
import { assertLoopGoesOn } from '../support/loop-delay.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const alice = await server.user('alice')
const key = await keyOf('alice')
await added(alice, key)

test('lookups go on while keys are checked, and the event loop does not wait', async () => {
  const mallory = await server.user('mallory')
  const [one, other] = await makeCostly({ userIDs: [{ name: 'mallory' }] })
  await assertLoopGoesOn(async () => {
    const pushes = Promise.all([one, other].map((body) => push(mallory, body)))
    const state = { isDone: false }
    void pushes.finally(() => (state.isDone = true))
    let lookups = 0
    while (!state.isDone) {
      assert.equal(fingerprintOf(await got(server.anonymous, 'alice (work)')), fingerprintOf(key))
      lookups += 1
    }
    const statuses = (await pushes).map(({ status }) => status)
    // Read in time or not, which the machine decides.
    assert.ok(
      statuses.every((status) => status === 200 || status === 400),
      statuses.join(' '),
    )
    assert.ok(lookups > 10, `${lookups} lookups`)
  })
})

async function push(client: Client, body: Buffer): Promise<Reply> {
  const headers = { 'content-type': 'application/pgp-keys;armor=no' }
  return await client.send('POST', '/pks/v2/certs', { headers, body })
}
