/** /ul/probe/…: a right that only this host can give itself, and nothing of which it tells is another's. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { Capabilities, oneKey } from '../../server/capability.ts'
import { assertProblem } from '../support/client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous, appliance } = server
const { capabilities } = appliance

test('it says what has arrived, and where from', async () => {
  const path = capabilities.probePath({ holdMs: 0 })
  const reply = await anonymous.send('PUT', `${path}/a%2Fb/c`, { body: 'x' })
  assert.equal(reply.status, 200)
  assert.deepEqual(reply.json, { data: { address: '127.0.0.1', rest: 'a%2Fb/c' } })
})

test('an address without the right is refused, and so is that of something else', async () => {
  const strange = new Capabilities(oneKey(Buffer.alloc(32, 7))).probePath({ holdMs: 0 })
  const upload = capabilities.uploadPath({ upload: 'f'.repeat(32), part: 0 })
  const path = capabilities.probePath({ holdMs: 0 })
  const altered = `${path.slice(0, -3)}AAA`
  for (const wrong of [strange, altered, '/ul/probe/x', upload.replace('/ul/', '/ul/probe/')]) {
    assertProblem(await anonymous.send('PUT', `${wrong}/rest`, { body: 'x' }), 403)
  }
  assertProblem(await anonymous.send('GET', `${path}/rest`), 404)
})

test('a probe ends with a quarter of an hour, and says so as any address that is over', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const path = capabilities.probePath({ holdMs: 0 })
  t.mock.timers.tick(16 * 60_000)
  const sealed = path.replace('/ul/probe/', '')
  assert.equal(capabilities.openProbe(sealed), undefined)
})

test('it is in the log without the right', async () => {
  const path = capabilities.probePath({ holdMs: 0 })
  await anonymous.send('PUT', `${path}/rest`, { body: 'x' })
  assert.equal(server.log().includes(path.slice(-40)), false)
  assert.match(server.log(), /"request.path":"\/ul\/-"/)
})
