/** A real GnuPG with an empty home of its own, unprivileged, and the daemons that it starts there. */
import { spawnSync } from 'node:child_process'
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import { finish } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'

const isThere = (program: string): boolean => spawnSync(program, ['--version']).status === 0

/** False, or the reason for node:test. In CI nothing is skipped: what is missing fails. */
export const withoutGnupg: string | false =
  process.env['CI'] === 'true' || (isThere('gpg') && isThere('dirmngr'))
    ? false
    : 'gpg or dirmngr is not installed'

/** Of `nobody`, whom dirmngr runs as where the tests are run by root. */
const nobody = 65534

export interface Gnupg {
  /** `gpg <args>`, without questions, to its end. */
  run(...args: string[]): Promise<Outcome>
  /** Makes a file there and returns its path. */
  file(name: string, content: string): string
  /** A file that GnuPG has written there. */
  read(path: string): string
  /** What dirmngr, which speaks with the keyserver, has logged. */
  dirmngrLog(): string
}

/** Its home and its daemons go away with the test. `keyserver` is the URL of a server of the test. */
export function openGnupg(t: TestContext, keyserver: string): Gnupg {
  const home = mkdtempSync(join(tmpdir(), 'berth-gnupg-'))
  const asRoot = process.getuid?.() === 0
  const log = join(home, 'dirmngr.log')
  const put = (name: string, content: string): string => {
    const path = join(home, name)
    writeFileSync(path, content)
    if (asRoot) chownSync(path, nobody, nobody)
    return path
  }
  if (asRoot) chownSync(home, nobody, nobody)
  put('dirmngr.conf', `no-use-tor\nverbose\nlog-file ${log}\n`)
  // With http:// gpg would ask for "/" and not speak HKP.
  put('gpg.conf', `keyserver ${keyserver.replace(/^http:/, 'hkp:')}\n`)

  const env = { PATH: process.env['PATH'], HOME: home, GNUPGHOME: home, LC_ALL: 'C.UTF-8' }
  const ids = [`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']
  const prefix = asRoot ? ['setpriv', ...ids] : []
  const execute = async (words: readonly string[]): Promise<Outcome> => {
    const [program = '', ...args] = [...prefix, ...words]
    return await finish(program, args, 60, env)
  }
  t.after(async () => {
    await execute(['gpgconf', '--kill', 'all'])
    rmSync(home, { recursive: true, force: true, maxRetries: 10 })
  })
  const quiet = ['--batch', '--pinentry-mode', 'loopback', '--passphrase', '']
  return {
    run: async (...args) => await execute(['gpg', ...quiet, ...args]),
    file: put,
    read: (path) => readFileSync(join(home, path), 'utf8'),
    dirmngrLog: () => readFileSync(log, 'utf8'),
  }
}
