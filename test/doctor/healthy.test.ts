/** berthctl doctor as administrators call it: a site that is well, one that is not, and one that is not there. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { pathOf, run } from '../admin/command.ts'
import { makeHost } from '../admin/host.ts'
import { freePort } from '../support/free-port.ts'
import { isRoot, startDoctorSite } from './site.ts'

const site = await startDoctorSite({ after })
/** Of the machine that runs the tests, and of a public address that only root can serve on 443. */
const ofThisMachine = new Set(['host-node', 'host-open-files', ...(isRoot ? [] : ['public-port'])])

test('a site that is well has neither faults nor hints', async () => {
  const wrong = await site.look({ holdSeconds: 2 })
  if (!isRoot) wrong.delete('public-port')
  assert.deepEqual([...wrong.values()], [])
})

test('the command says in JSON what each check has found, and ends with 0', async () => {
  const env = { BERTH_CONFIG: site.write() }
  const args = ['doctor', '--json', '--hold', '0', '--ca', site.caFile]
  const { code, stdout, stderr } = await run('berthctl', args, { env })
  assert.equal(stderr, '')
  const { findings } = JSON.parse(stdout) as { findings: { check: string; state: string }[] }
  assert.ok(findings.length >= 60, `${findings.length} checks`)
  assert.equal(new Set(findings.map(({ check }) => check)).size, findings.length)
  const faults = findings.filter(({ state }) => state === 'fault').map(({ check }) => check)
  assert.deepEqual(
    faults.filter((check) => !ofThisMachine.has(check)),
    [],
  )
  assert.equal(code, faults.length === 0 ? 0 : 1)
})

test('what is wrong comes with what mends it, and the status 1; no secret is told', async () => {
  const password = join(site.directory, 'db-password')
  writeFileSync(password, 'a-secret-word\n', { mode: 0o644 })
  const database = { ...(site.settings['database'] as object), password_file: password }
  const env = { BERTH_CONFIG: site.write({ database }) }
  const { code, stdout } = await run('berthctl', ['doctor', '--hold', '0', '--ca', site.caFile], {
    env,
  })
  assert.equal(code, 1)
  const lines = stdout.split('\n')
  const at = lines.findIndex((line) => line.startsWith('FAULT secret-permissions: '))
  assert.ok(lines[at]?.includes(password), stdout)
  assert.match(lines[at + 1] ?? '', /^ {6}chmod 0600/)
  assert.match(stdout, /^\d+ faults, \d+ hints, \d+ checks are well, \d+ do not apply$/m)
  assert.equal(stdout.includes('a-secret-word'), false)
})

test('a wrong call is refused', async () => {
  for (const args of [['--hold', 'soon'], ['--hold', '-1'], ['--nothing'], ['word']]) {
    const { code, stdout } = await run('berthctl', ['doctor', ...args])
    assert.equal(code, 2, args.join(' '))
    assert.equal(stdout, '')
  }
})

test('few open files are found where they are set', async () => {
  const command = ['--nofile=1024:1024', pathOf('berthctl'), 'doctor', '--json', '--hold', '0']
  const env = { PATH: process.env['PATH'], BERTH_CONFIG: site.write() }
  const stdout = await new Promise<string>((resolve) => {
    execFile('prlimit', command, { env, timeout: 120_000 }, (_error, stdout) => resolve(stdout))
  })
  const { findings } = JSON.parse(stdout) as {
    findings: { check: string; state: string; what: string }[]
  }
  const found = findings.find(({ check }) => check === 'host-open-files')
  assert.equal(found?.state, 'fault')
  assert.match(found?.what ?? '', /1024/)
})

test('with the server stopped the rest is looked at, and nothing is left running', async (t) => {
  const host = await makeHost(t)
  await (await host.start()).end('SIGTERM')
  const env = { ...host.env, BERTH_PUBLIC_URL: `http://127.0.0.1:${host.port}` }
  const { code, stdout } = await run('berthctl', ['doctor', '--json'], { env })
  const { findings } = JSON.parse(stdout) as { findings: { check: string; state: string }[] }
  const of = (state: string): string[] =>
    findings.filter((finding) => finding.state === state).map(({ check }) => check)
  assert.deepEqual(
    of('fault').filter((check) => !ofThisMachine.has(check)),
    ['public-answers'],
  )
  assert.ok(of('ok').includes('database-migrations'))
  assert.ok(of('ok').includes('store-marker'))
  assert.ok(of('skipped').includes('proxy-cuts'))
  assert.equal(code, 1)
  assert.deepEqual(host.postmasters(), [])
})

test('where Berth was never started it makes nothing', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-nothing-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const env = {
    BERTH_CONFIG: '/dev/null',
    BERTH_DATA_DIR: join(directory, 'data'),
    BERTH_PUBLIC_URL: `http://127.0.0.1:${await freePort()}`,
  }
  const { code, stdout } = await run('berthctl', ['doctor'], { env })
  assert.equal(code, 1)
  assert.match(stdout, /^FAULT data-directory: /m)
  assert.match(stdout, /^FAULT public-answers: /m)
  assert.deepEqual(readdirSync(directory), [])
})
