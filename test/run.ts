/**
 * Runs the tests on one throw-away PostgreSQL: `node dist/test/run.js` everything that needs Node
 * and npm only, `node dist/test/run.js clients` the real clients. Arguments that name files run those.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { makeDataDirectory, openEmbeddedPostgres } from '../server/embedded-postgres.ts'
import { createLog } from '../server/log.ts'
import { packageRoot } from '../server/package-root.ts'
import { postgresVariable, throwAwaySettings } from './support/postgres.ts'

/** For one file; the long runs that a variable asks for need more. */
const timeoutMs = Number(process.env['BERTH_TEST_SECONDS'] ?? 600) * 1000

const wanted = process.argv.slice(2)
const files = testFiles(wanted)
const directory = mkdtempSync(join(tmpdir(), 'berth-tests-'))
makeDataDirectory(join(directory, 'data'))
const postgres = await openEmbeddedPostgres(join(directory, 'data/postgres'), createLog('error'), {
  settings: throwAwaySettings,
})

const tests = spawn(
  process.execPath,
  [
    '--enable-source-maps',
    '--test',
    '--test-concurrency=2',
    `--test-timeout=${timeoutMs}`,
    ...files,
  ],
  {
    stdio: 'inherit',
    cwd: packageRoot,
    env: { ...process.env, [postgresVariable]: postgres.address.socketDir },
  },
)
process.on('SIGINT', () => tests.kill('SIGINT'))
process.on('SIGTERM', () => tests.kill('SIGTERM'))
const code = await new Promise<number>((resolve) => {
  tests.on('close', (status) => resolve(status ?? 1))
})
await postgres.leave()
rmSync(directory, { recursive: true, force: true })
process.exitCode = code

function testFiles(names: readonly string[]): string[] {
  const folders =
    names.length === 0
      ? [
          'unit',
          'api',
          'admin',
          'directory',
          'login-node',
          'runner',
          'builder',
          'systemd',
          'backup',
          'doctor',
          'monitoring',
        ]
      : names
  const sources = folders.flatMap((name) => (name.endsWith('.ts') ? [name] : testsIn(name)))
  return sources.map((source) => `dist/${source.replace(/\.ts$/, '.js')}`)
}

function testsIn(folder: string): string[] {
  return readdirSync(join(packageRoot, 'test', folder))
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .map((name) => `test/${folder}/${name}`)
}
