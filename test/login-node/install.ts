/** The commands as a site installs them: built by the lines of README.md, copied to a prefix. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { packageRoot } from '../../server/package-root.ts'
import type { Lifetime } from '../support/server.ts'
import { commands, example } from './readme.ts'

export interface Site {
  readonly url: string
  readonly name: string
  readonly exclusive?: boolean
  /** Where the prefix is to the login node; by default where it is here. */
  readonly prefix?: string
}

/** Resolves with the directory in which everything is; it goes away with the test. */
export async function installLoginTools(t: Lifetime, site: Site): Promise<string> {
  const parent = mkdtempSync(join(tmpdir(), 'berth-login-node-'))
  t.after(async () => rmSync(parent, { recursive: true, force: true }))
  const directory = join(parent, 'prefix')
  const [build = '', copy = ''] = commands.install
  assert.match(build, /^npm ci && npm run build:login-tools /)
  const [, built = ''] = build.split(' && ')
  const exclusive = site.exclusive === true ? ' --exclusive' : ''
  await shell(
    built
      .replace(example.url, site.url)
      .replace(`--site ${example.site}`, `--site ${site.name}`)
      .replace(example.prefix, site.prefix ?? directory) + exclusive,
  )
  await shell(copy.replaceAll(example.prefix, directory))
  return directory
}

async function shell(line: string): Promise<void> {
  await promisify(execFile)('bash', ['-ec', line], { cwd: packageRoot, timeout: 120_000 })
}
