/** What `npm run build:release` makes: the same bytes each time, and all that a host needs. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { promisify } from 'node:util'

import { packageRoot } from '../../server/package-root.ts'

const call = promisify(execFile)
const directory = mkdtempSync(join(tmpdir(), 'berth-release-'))
after(() => rmSync(directory, { recursive: true, force: true }))

async function make(name: string, ...args: readonly string[]): Promise<string> {
  const output = join(directory, name)
  const program = join(packageRoot, 'dist/admin-cli/release/build.js')
  await call(process.execPath, [program, '--output', output, ...args], { timeout: 120_000 })
  const archive = readdirSync(output).find((file) => file.endsWith('.tar.gz'))
  assert.ok(archive)
  // Nothing that is half made stays.
  assert.deepEqual(readdirSync(output).sort(), [archive, `${archive}.sha256`])
  return join(output, archive)
}

test('the same tree makes the same archive, whose sum stands beside it', async () => {
  const [one, other] = [await make('one'), await make('other')]
  const sum = readFileSync(`${one}.sha256`, 'utf8')
  assert.match(sum, /^[0-9a-f]{64} {2}berth-[\d.]+-linux-\w+\.tar\.gz\n$/)
  assert.equal(readFileSync(`${other}.sha256`, 'utf8'), sum)
  await call('sha256sum', ['--check', '--strict', `${one}.sha256`], { cwd: join(one, '..') })
})

test('unpacked elsewhere it runs, without the packages of development', async () => {
  const archive = await make('next', '--version', '9.9.9-site.1')
  const place = join(directory, 'host')
  await call('mkdir', [place])
  await call('tar', ['-xzf', archive, '-C', place])
  const root = join(place, 'berth-9.9.9-site.1')
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string
    devDependencies: object
    dependencies: object
  }
  assert.equal(manifest.version, '9.9.9-site.1')
  const packages = new Set(readdirSync(join(root, 'node_modules')))
  for (const name of Object.keys(manifest.dependencies)) assert.ok(packages.has(name), name)
  for (const name of ['typescript', 'esbuild', 'oxlint']) assert.ok(!packages.has(name), name)
  assert.deepEqual(
    readdirSync(join(root, 'server/migrations')),
    readdirSync(join(packageRoot, 'server/migrations')),
  )
  const { stdout } = await call(join(root, 'admin-cli/bin/berthctl'), ['config', 'check'], {
    env: { PATH: process.env['PATH'], BERTH_CONFIG: '/dev/null' },
    timeout: 60_000,
  })
  assert.match(stdout, /The configuration is right/)
})

test('a version that could be no directory is refused', async () => {
  for (const version of ['', '..', '1.2', 'v1.2.3', '1.2.3/../..']) {
    await assert.rejects(make('wrong', '--version', version), /is no version/)
  }
})
