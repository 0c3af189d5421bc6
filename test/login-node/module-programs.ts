/** The two programs that sites have for modules. Debian's packages of them exclude each other. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'

export interface ModuleProgram {
  readonly name: string
  readonly skip: false | string
  /** With a file for each shell, which defines `module`. */
  readonly init: string
  /** Where its modules are in an install prefix. */
  readonly modules: string
}

const mustRun = process.env['CI'] === 'true'
const found = spawnSync(join(packageRoot, '.ci/environment-modules'), ['--check'])
const lmod = '/usr/share/lmod/lmod/init'

export const modulePrograms: readonly ModuleProgram[] = [
  {
    name: 'Environment Modules',
    skip:
      found.status === 0 || mustRun
        ? false
        : 'environment-modules is not there: .ci/environment-modules unpacks it',
    init: found.stdout.toString().trim(),
    modules: 'modulefiles',
  },
  {
    name: 'Lmod',
    skip: existsSync(lmod) || mustRun ? false : 'lmod is not installed',
    init: lmod,
    modules: 'lmod',
  },
]
