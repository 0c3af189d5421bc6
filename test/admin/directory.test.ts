/** berthctl directory test: one person through the directory, for whoever sets it up. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { stringify } from 'smol-toml'

import { siteTable } from '../directory/ldap.ts'
import type { Table } from '../directory/ldap.ts'
import { freePort } from '../support/free-port.ts'
import { reply, startPortal } from '../support/portal.ts'
import { trees } from '../support/slapd-config.ts'
import { passwordOf, servicePassword } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const skip = skipSlapd
const running = skip === false ? await startSlapd({ after }) : undefined
const slapd = running as Slapd
const directory = mkdtempSync(join(tmpdir(), 'berth-walk-'))
after(() => rmSync(directory, { recursive: true, force: true }))

async function walk(
  table: Table | undefined,
  words: readonly string[],
  input?: string,
): Promise<Outcome> {
  const file = join(directory, 'berth.toml')
  writeFileSync(file, stringify(table === undefined ? {} : { directory: table }))
  const env = { BERTH_CONFIG: file }
  const options = input === undefined ? { env } : { env, input }
  const outcome = await run('berthctl', ['directory', 'test', ...words], options)
  for (const secret of [servicePassword, passwordOf('alice'), passwordOf('bob')]) {
    assert.equal(`${outcome.stdout}${outcome.stderr}`.includes(secret), false)
  }
  return outcome
}

function site(more: Table = {}): Table {
  const groups = { method: 'member_of', base: `ou=groups,${trees.site}` }
  return siteTable(slapd, { groups, ...more })
}

test('each step is shown, and nothing of the password', { skip }, async () => {
  const outcome = await walk(site(), ['alice'])
  assertDone(outcome)
  const expected = [
    `server ${slapd.tlsUrl}: reached`,
    /^certificate of ldap\.site\.test, 127\.0\.0\.1, by authority of a test, valid until \d{4}-\d\d-\d\d \(TLSv1\.[23]\)$/,
    `searching as cn=berth,${trees.site}`,
    `search below ou=people,${trees.site} for (uid=alice): 1 found`,
    `  uid=alice,ou=people,${trees.site}`,
    `entry uid=alice,ou=people,${trees.site}`,
    '  uid: alice',
    /^ {2}entryUUID: [0-9a-f-]{36}$/,
    '  mail: alice@site.test',
    '  cn: alice of the site',
    /^ {2}memberOf: cn=climate,.* \| /,
    '  pwdAccountLockedTime: (none to be read)',
    '  pwdStartTime: (none to be read)',
    '  pwdEndTime: (none to be read)',
    '  pwdReset: (none to be read)',
    '  pwdGraceUseTime: (none to be read)',
    /^name alice, id [0-9a-f-]{36}$/,
    'account: in order',
    'groups (member_of): 3 found',
    `  climate: cn=climate,ou=groups,${trees.site}`,
    /^ {2}comma, plus\+: /,
    `  left out: cn=guests,ou=guests,${trees.site}`,
    /^alice may sign in, with the right password \(id [0-9a-f-]{36}\)\.$/,
  ]
  const lines = outcome.stdout.trimEnd().split('\n')
  assert.equal(lines.length, expected.length, outcome.stdout)
  for (const [index, want] of expected.entries()) {
    if (typeof want === 'string') assert.equal(lines[index], want)
    else assert.match(lines[index] ?? '', want)
  }
  assert.equal(outcome.stderr, '')
})

test('--password tries it, as signing in does', { skip }, async () => {
  const right = await walk(site(), ['alice', '--password'], `${passwordOf('alice')}\n`)
  assertDone(right)
  assert.match(right.stdout, /^password of uid=alice,\S+: the password is right$/m)
  assert.match(right.stdout, /^alice may sign in \(id \S+\)\.$/m)
  assert.equal(right.stderr, 'Password of alice: \n')
  const wrong = await walk(site(), ['bob', '--password'], 'wrong\n')
  assert.equal(wrong.code, 1)
  assert.match(wrong.stdout, /^password of uid=bob,\S+: LDAP result 49$/m)
  assert.match(wrong.stderr, /Signing in is refused: password \(LDAP result 49\)\.\n$/)
  const grace = await walk(site(), ['grace', '--password'], `${passwordOf('grace')}\n`)
  assert.equal(grace.code, 1)
  assert.match(grace.stdout, /^ {2}password: expired, pwdGraceUseTime \d+/m)
  assert.match(grace.stderr, /grace may not sign in: the password is right, but it has expired/)
})

const refusals: readonly (readonly [string, RegExp])[] = [
  ['nobody', /Signing in is refused: unknown\.\n$/],
  ['adminlocked', /Signing in is refused: locked \(pwdAccountLockedTime 000001010000Z\)\.\n$/],
  ['under__score', /Signing in is refused: malformed \(the library cannot have the name/],
]
for (const [name, why] of refusals) {
  test(`${name} is refused, with the reason`, { skip }, async () => {
    const outcome = await walk(site(), [name])
    assert.equal(outcome.code, 1)
    assert.match(outcome.stderr, why)
    assert.match(outcome.stdout, /^search below /m)
  })
}

test('--json has the steps and the answer', { skip }, async () => {
  const outcome = await walk(site(), ['alice', '--json'])
  assertDone(outcome)
  const { steps, answer } = JSON.parse(outcome.stdout)
  const kinds = steps.map(({ step }: { step: string }) => step)
  const want = [
    'server',
    'certificate',
    'service-bind',
    'search',
    'entry',
    'person',
    'state',
    'groups',
  ]
  assert.deepEqual(kinds, want)
  assert.equal(answer.outcome, 'accepted')
  assert.deepEqual(answer.entry.groups, ['climate', 'comma, plus+'])
})

test('a server that fails is shown, and the one that works', { skip }, async () => {
  const dead = `ldaps://127.0.0.1:${await freePort()}`
  const outcome = await walk(site({ servers: [dead, slapd.tlsUrl] }), ['alice'])
  assertDone(outcome)
  assert.match(outcome.stdout, /^server failed: ldaps:\S+: connect ECONNREFUSED/)
  const untrusted = await walk(site({ server_name: 'evil.test' }), ['alice'])
  assert.equal(untrusted.code, 1)
  assert.match(untrusted.stdout, /^server failed: .*does not match certificate/)
  assert.match(untrusted.stderr, /^berthctl: The directory does not answer/)
})

test(
  'people who are bound directly cannot be looked up without their password',
  { skip },
  async () => {
    const direct = site({
      direct_bind: `uid={user},ou=people,${trees.site}`,
      bind_dn: undefined,
      bind_password_file: undefined,
    })
    assertRefused(
      await walk(direct, ['alice']),
      1,
      /Nothing can be learned without a password here/,
    )
    const outcome = await walk(direct, ['alice', '--password'], `${passwordOf('alice')}\n`)
    assertDone(outcome)
    assert.match(outcome.stdout, /^alice may sign in \(id /m)
  },
)

test('a portal shows what it answers', async (t) => {
  const body = { ok: true, id: 7, name: 'alice', groups: ['climate'] }
  const { port } = await startPortal(t, undefined, reply(200, body))
  const table = {
    provider: 'portal',
    url: `http://127.0.0.1:${port}/check`,
    allow_plain: true,
    format: 'json',
    success_field: 'ok',
    reply: { groups: 'groups' },
  }
  assertRefused(await walk(table, ['alice']), 1, /Nothing can be learned without a password here/)
  const outcome = await walk(table, ['alice', '--password'], 'secret\n')
  assertDone(outcome)
  assert.equal(
    outcome.stdout,
    `server http://127.0.0.1:${port}/check: reached
reply with the status 200, fields ok, id, name, groups
name alice, id 7
groups (reply): 1 found
  climate: climate
alice may sign in (id 7).
`,
  )
})

test('without a directory, or called wrongly', async () => {
  assertRefused(
    await walk(undefined, ['alice']),
    1,
    /There is no \[directory\] in the configuration/,
  )
  assertRefused(await walk(undefined, []), 2, /Say "berthctl directory test NAME/)
  assertRefused(await walk(undefined, ['alice', 'secret']), 2, /Say "berthctl directory test NAME/)
  const outcome = await run('berthctl', ['directory'])
  assertRefused(outcome, 2, /Say what to do: test, revalidate/)
})
