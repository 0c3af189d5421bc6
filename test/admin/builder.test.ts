import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { Client } from '../support/client.ts'
import { signInAs } from '../support/process.ts'
import { assertDone, assertRefused, run } from './command.ts'
import { makeHost } from './host.ts'

const host = await makeHost({ after })
const server = await host.start()

const berthctl = async (...args: string[]) =>
  await run('berthctl', ['builder', ...args], { env: host.env })

const report = (selfTest: object) => ({
  name: 'east',
  instance: '0123456789abcdef',
  archs: ['arm64', 'riscv64'],
  slots: 3,
  version: '9.8.7',
  runs: [],
  selfTest: { at: new Date().toISOString(), failure: null, ...selfTest },
  leaving: true,
})

test('a builder host is added, seen and removed', async () => {
  const added = await berthctl('add', 'east')
  assertDone(added)
  const token = added.stdout.trim()
  assert.match(added.stdout, /^berth_builder_[\w-]{43}\n$/)
  assertRefused(await berthctl('add', 'east'), 1, /There is a builder east/)
  const never = await berthctl('list')
  assertDone(never)
  assert.match(never.stdout, /^Name +Executor +Archs +Slots +Running +Heard +Self-test +Version\n/)
  assert.match(never.stdout, /\nlocal +local +amd64 +2 +0 +- +- +-\n/)
  assert.match(never.stdout, /\neast +host +0 +0 +- +- +-\n/)
  assert.match(never.stdout, /\nthe builder east has never been heard of\n/)

  const builder = new Client(server.url, { name: '', accountId: '', token, tokenId: '' })
  assert.equal((await builder.post('/v1/runner/host', report({}))).status, 200)
  const seen = await berthctl('list')
  assert.match(seen.stdout, /\neast +host +arm64,riscv64 +3 +0 +\d{4}-\S+Z +passed +9\.8\.7\n/)
  assert.doesNotMatch(seen.stdout, /not available|never/)

  const broken = report({ failure: 'no user namespace can be made' })
  assert.equal((await builder.post('/v1/runner/host', broken)).status, 200)
  const failed = JSON.parse((await berthctl('list', '--json')).stdout)
  const [, east] = failed
  assert.equal(east.selfTest, 'FAILED')
  assert.match(east.unavailable, /east is not available: its self-test failed: no user namespace/)
  const status = await run('berthctl', ['status'], { env: host.env })
  assert.equal(status.code, 1)
  assert.match(status.stdout, /ALARM since \S+: The builder east takes no builds: .*no user names/)

  const removed = await berthctl('remove', 'east', '--yes')
  assertDone(removed)
  assert.equal(removed.stdout, 'Removed the builder east.\n')
  assert.equal((await builder.post('/v1/runner/host', report({}))).status, 401)
  assert.equal((await run('berthctl', ['status'], { env: host.env })).code, 0)
  const audited = await run('berthctl', ['audit', '--action', 'builder'], { env: host.env })
  assert.match(audited.stdout, /builder\.add[^]*builder\.remove/)
  assert.ok(!audited.stdout.includes(token))
})

test('what cannot be: names that are none, builders that are not there', async () => {
  assertRefused(await berthctl('add', 'East Wing'), 1, /no name of a builder/)
  assertRefused(await berthctl('add'), 2, /Say "berthctl builder add NAME/)
  assertRefused(await berthctl('remove', 'nowhere', '--yes'), 1, /no builder host nowhere/)
  assertRefused(await berthctl('restart'), 2, /Say what to do: list, add, remove/)
  const admin = await signInAs(server.url, 'admin', server.password ?? '')
  assert.equal((await admin.post('/v1/runner/host', report({}))).status, 401)
})
