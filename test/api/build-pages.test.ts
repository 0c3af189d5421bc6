/** The builder's pages: what everybody sees, what the owner sees, and what nobody else does. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { hostOperator } from '../../server/accounts/accounts.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  outputOf,
  stateIs,
  submit,
} from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'

/** The text of a page that has no script, no inline style and no form. */
async function page(client: Client, path: string, status = 200): Promise<string> {
  const reply = await client.get(path)
  assert.equal(reply.status, status, `${path}: ${reply.body.toString().slice(0, 300)}`)
  assert.match(String(reply.headers['content-type']), /^text\/html/)
  assert.match(String(reply.headers['content-security-policy']), /default-src 'none'/)
  const html = reply.body.toString()
  assert.doesNotMatch(html, /<script|<style|<form| style=| on[a-z]+=/)
  return html
}

interface Busy {
  readonly server: TestServer
  readonly alice: Client
  readonly bob: Client
  /** Of alice, then of bob. */
  readonly running: string
  readonly waiting: string
  readonly open: () => void
}

/** One slot, in which a build of alice's waits for the gate, and one of bob's in the queue. */
async function busySite(t: TestContext): Promise<Busy> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-pages-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const gate = join(directory, 'gate')
  const builder = builderSettings(
    { running_per_user: 3, allowed_hosts: ['deb.example.org'] },
    { slots: 1 },
  )
  const server = await startServer(t, { settings: { builder } })
  const [alice, bob] = [await server.user('alice'), await server.user('bob')]
  const escape = '\u001b[31m<script>alert(1)</script>\u001b[0m'
  const running = await submit(
    alice,
    definitionOf(`print ${escape}`, `wait-for ${gate}`, 'image a'),
  )
  await stateIs(alice, running, 'running')
  await eventually(async () => (await outputOf(alice, running)) !== '', 'it has printed')
  const waiting = await submit(bob, definitionOf('image b'))
  return { server, alice, bob, running, waiting, open: () => writeFileSync(gate, '') }
}

test('the queue: numbers for everybody, turns for the signed in, names for who may', async (t) => {
  const { server, alice, running, waiting } = await busySite(t)
  const stranger = await page(server.anonymous, '/builds')
  assert.match(stranger, /singularity build --remote image\.sif image\.def/)
  assert.match(stranger, /1 build runs now, 1 build waits\./)
  assert.match(stranger, /<td>here<\/td><td>amd64<\/td><td>1 of 1<\/td><td>available<\/td>/)
  assert.match(stranger, /3 at work at a time, and 20 in the queue/)
  assert.match(stranger, /reach deb\.example\.org/)
  for (const secret of ['alice', 'bob', running, waiting]) {
    assert.ok(!stranger.includes(secret), `a stranger sees ${secret}`)
  }
  const hers = await page(alice, '/builds')
  assert.match(hers, new RegExp(`<a href="/builds/${running}">${running}</a></td><td>alice</td>`))
  assert.match(hers, /<td>1<\/td><td><\/td><td><span class="soft">somebody else<\/span>/)
  assert.ok(!hers.includes('bob') && !hers.includes(waiting))
  const admin = await server.user('root', { isAdmin: true })
  const all = await page(admin, '/builds')
  for (const shown of ['alice', 'bob', running, waiting]) assert.ok(all.includes(shown), shown)
})

test("a build's own page: state, place and output for its owner, escaped", async (t) => {
  const { server, alice, bob, running, waiting, open } = await busySite(t)
  const hers = await page(alice, `/builds/${running}`)
  assert.match(hers, /<th>State<\/th><td>runs<\/td>/)
  assert.match(hers, /<code>&lt;script>alert\(1\)&lt;\/script>\n<\/code>/)
  assert.ok(!hers.includes('\u001b'))
  assert.match(hers, new RegExp(`apptainer build --remote cancel ${running}`))
  assert.match(
    await page(bob, `/builds/${waiting}`),
    /<th>Queue<\/th><td>place 1 of 1: all builders are busy, and this build is the next<\/td>/,
  )
  const admin = await server.user('root', { isAdmin: true })
  assert.match(await page(admin, `/builds/${running}`), /<th>Of<\/th><td>alice<\/td>/)
  open()
  await ended(alice, running)
  const done = await page(alice, `/builds/${running}`)
  assert.match(
    done,
    new RegExp(`singularity pull library://alice/remote-builds/rb-${running}:latest`),
  )
  assert.match(done, /Image stored: library:/)
  await ended(bob, waiting)
  assert.equal((await bob.send('DELETE', `/v1/build/${waiting}`)).status, 200)
  assert.match(await page(bob, `/builds/${waiting}`), /There is none/)
})

test('to others a build does not exist, and a stranger learns nothing', async (t) => {
  const { server, alice, bob, running } = await busySite(t)
  const none = '0'.repeat(24)
  const [foreign, absent] = [
    await page(bob, `/builds/${running}`, 404),
    await page(bob, `/builds/${none}`, 404),
  ]
  assert.equal(foreign.replaceAll(running, none), absent)
  const [known, unknown] = [
    await page(server.anonymous, `/builds/${running}`),
    await page(server.anonymous, `/builds/${none}`),
  ]
  assert.equal(known.replaceAll(running, none), unknown)
  assert.match(known, new RegExp(`apptainer build --remote output ${running}`))
  await server.appliance.tokens.revoke(hostOperator, alice.credentials?.tokenId ?? '')
  assert.equal(await page(alice, `/builds/${running}`), known, 'a token that has ended')
  assert.ok(!(await page(server.anonymous, '/builds/%3Cb%3E')).includes('<b>'))
})

test('the address that a detached build prints: a hint until the image is there', async (t) => {
  const { server, alice, running, open } = await busySite(t)
  const path = `/library/alice/remote-builds/rb-${running}:latest`
  assert.match(await page(server.anonymous, path, 404), new RegExp(`--remote status ${running}`))
  assert.doesNotMatch(await page(server.anonymous, '/library/alice/tools/x:v1', 404), /--remote/)
  open()
  await ended(alice, running)
  assert.match(
    await page(server.anonymous, path),
    /singularity pull library:\/\/alice\/remote-builds/,
  )
})

test('a builder that takes nothing: everybody sees that, the signed in why', async (t) => {
  const runner = ['/no/such/program']
  const server = await startServer(t, { settings: { builder: builderSettings({}, { runner }) } })
  const alice = await server.user('alice')
  const id = await submit(alice, definitionOf('image x'))
  let shown = ''
  await eventually(async () => {
    shown = await page(alice, '/builds')
    return shown.includes('not available')
  }, 'the builder rests')
  assert.match(shown, /not available: .*\/no\/such\/program/)
  const stranger = await page(server.anonymous, '/builds')
  assert.match(stranger, /<td>not available<\/td>/)
  assert.ok(!stranger.includes('/no/such/program'))
  await alice.send('PUT', `/v1/build/${id}/_cancel`)
})

test('a site without a builder, and one that shows strangers nothing', async (t) => {
  const without = await startServer(t)
  assert.match(
    await page(without.anonymous, '/builds'),
    /has no builder: build on your own machine/,
  )
  const settings = { builder: builderSettings(), access: { anonymous_pull: false } }
  const closed = await startServer(t, { settings })
  const stranger = await page(closed.anonymous, '/builds')
  assert.match(stranger, /build --remote/)
  assert.match(stranger, /The queue is shown to people who are signed in/)
  assert.ok(!stranger.includes('<td>here</td>'))
  assert.match(await page(await closed.user('alice'), '/builds'), /<td>here<\/td>/)
})
