/** Go programs of the tests, compiled once for each state of their sources and kept outside the clone. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'

// The archive from go.dev is unpacked there, and PATH does not always know it.
const PATH = [process.env['PATH'], '/usr/local/go/bin'].join(delimiter)
const hasGo = spawnSync('go', ['version'], { env: { ...process.env, PATH } }).status === 0

/** For tests that need Go: false, or why they are skipped. */
export const withoutGo: false | string = hasGo ? false : 'Go is not installed'

/** The program whose sources are in test/clients/<folder>; the path of the executable file. */
export function goProgram(folder: string): string {
  const sources = join(packageRoot, 'test/clients', folder)
  const hash = createHash('sha256')
  for (const name of readdirSync(sources).sort()) hash.update(readFileSync(join(sources, name)))
  const cache = join(process.env['BERTH_CACHE'] ?? '/var/cache/berth', basename(folder))
  const program = join(cache, hash.digest('hex').slice(0, 16))
  if (existsSync(program)) return program
  mkdirSync(cache, { recursive: true })
  const unfinished = `${program}.${process.pid}`
  const env = { ...process.env, PATH, CGO_ENABLED: '0' }
  const built = spawnSync('go', ['build', '-o', unfinished, '.'], { cwd: sources, env })
  assert.equal(built.status, 0, built.stderr.toString())
  renameSync(unfinished, program)
  return program
}
