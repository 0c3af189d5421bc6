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

/**
 * The program whose sources are in test/clients/<folder>; the path of the executable file. `main` is
 * the command of a module that go.mod there requires, by its import path.
 */
export function goProgram(folder: string, main = '.'): string {
  const { program, failure } = compile(folder, main)
  assert.equal(failure, undefined, failure)
  return program
}

/** For tests whose modules a proxy may not have: false, or why they are skipped. With CI=true they fail. */
export function withoutGoProgram(folder: string, main = '.'): false | string {
  if (withoutGo !== false || process.env['CI'] === 'true') return withoutGo
  const { failure } = compile(folder, main)
  return failure === undefined ? false : `${folder} cannot be compiled: ${failure.slice(0, 300)}`
}

interface Compiled {
  readonly program: string
  readonly failure: string | undefined
}

function compile(folder: string, main: string): Compiled {
  const sources = join(packageRoot, 'test/clients', folder)
  const hash = createHash('sha256').update(main)
  for (const name of readdirSync(sources).sort()) hash.update(readFileSync(join(sources, name)))
  const cache = join(process.env['BERTH_CACHE'] ?? '/var/cache/berth', basename(folder))
  const program = join(cache, hash.digest('hex').slice(0, 16))
  if (existsSync(program)) return { program, failure: undefined }
  mkdirSync(cache, { recursive: true })
  const unfinished = `${program}.${process.pid}`
  const env = { ...process.env, PATH, CGO_ENABLED: '0' }
  const built = spawnSync('go', ['build', '-o', unfinished, main], { cwd: sources, env })
  if (built.status !== 0) return { program, failure: built.stderr.toString() }
  renameSync(unfinished, program)
  return { program, failure: undefined }
}
