/** The manual pages and the completions of berthctl, tried by what reads them on a host. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { after } from 'node:test'
import { promisify } from 'node:util'

import { packageRoot } from '../../server/package-root.ts'
import { openShell, shellNames } from '../login-node/shell.ts'
import type { ShellName } from '../login-node/shell.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { withoutTerminal } from '../support/terminal.ts'
import { pathOf } from './command.ts'

const mustRun = process.env['CI'] === 'true'
const unless = (file: string, what: string): string | false =>
  existsSync(file) || mustRun ? false : `${what} is not installed`
const bashCompletion = '/usr/share/bash-completion/bash_completion'
const skips: Readonly<Record<ShellName, string | false>> = {
  bash: unless(bashCompletion, 'bash-completion'),
  zsh: unless('/usr/bin/zsh', 'zsh'),
}

const directory = mkdtempSync(join(tmpdir(), 'berth-documents-'))
after(() => rmSync(directory, { recursive: true, force: true }))
await promisify(execFile)(
  process.execPath,
  [join(packageRoot, 'dist/admin-cli/documents/build.js'), directory],
  { timeout: 60_000 },
)

const server = await startServer({ after })
const erika = await server.user('erika')
await erika.push('erika/demo/tool', 'v1', makeSif({ seed: 'completion' }))
const config = join(directory, 'berth.toml')
const database = server.appliance.config.database?.url
writeFileSync(config, `data_dir = "${server.dataDir}"\n[database]\nurl = "${database}"\n`)

test(
  'man shows every page without a warning',
  { skip: unless('/usr/bin/man', 'man') },
  async () => {
    const pages = readdirSync(join(directory, 'man/man1'))
    assert.ok(
      pages.includes('berthctl.1') && pages.includes('berthctl-quota.1') && pages.length > 20,
    )
    for (const page of pages) {
      const file = join(directory, 'man/man1', page)
      const shown = await promisify(execFile)('man', ['--warnings', '-l', file], {
        env: { ...process.env, MANWIDTH: '100', LC_ALL: 'C.UTF-8', MANPAGER: 'cat', PAGER: 'cat' },
        timeout: 60_000,
      })
      assert.equal(shown.stderr, '', page)
      const title = new RegExp(`^${page.replace('.1', '')}\\(1\\)`, 'im')
      assert.match(shown.stdout, title)
      assert.doesNotMatch(shown.stdout, /undefined|\\f[BIR]/)
    }
  },
)

test('a page says all that --help says of the options', () => {
  const page = readFileSync(join(directory, 'man/man1/berthctl-image.1'), 'utf8')
  for (const word of ['never\\-pulled', 'unsigned', 'older TIME', 'larger SIZE', 'yes']) {
    assert.ok(page.includes(`.B \\-\\-${word}`), word)
  }
})

/** Typed with Tab, and the line as it then is. */
const lines: readonly (readonly [keys: string, line: RegExp])[] = [
  ['berthctl acc\tdis\t', /berthctl account disable $/],
  ['berthctl retent\tprev\t', /berthctl retention preview $/],
  ['berthctl image list --never\t', /image list --never-pulled $/],
  ['berthctl usage --by rep\t', /usage --by repository $/],
  ['berthctl usage --dup\t', /usage --duplicates $/],
  ['berthctl scrub --ra\t', /scrub --rate $/],
  ['berthctl scrub sta\t', /scrub status $/],
  ['berthctl secrets rotate cap\t', /secrets rotate capability-key $/],
  ['berthctl policy set erika ver\t', /policy set erika verified $/],
  // Names that the database knows.
  ['berthctl account show eri\t', /account show erika $/],
  ['berthctl quota set eri\t', /quota set erika $/],
  ['berthctl audit --account eri\t', /audit --account erika $/],
]

for (const name of shellNames) {
  test(`${name} completes`, { skip: skips[name] || withoutTerminal }, async (t) => {
    const bin = `PATH=${dirname(pathOf('berthctl'))}:${dirname(process.execPath)}:$PATH`
    const starts: Readonly<Record<ShellName, string>> = {
      bash: `${bin}; . ${bashCompletion}; . ${directory}/bash-completion/completions/berthctl`,
      zsh: `${bin}; fpath=(${directory}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D`,
    }
    const env = { HOME: '/nonexistent', PATH: '/usr/bin:/bin', BERTH_CONFIG: config }
    const shell = await openShell(t, name, env, '/')
    await shell.done(starts[name])
    for (const [keys, line] of lines) {
      const from = shell.terminal.text().length
      shell.terminal.type(keys)
      await shell.seeLine(line, from)
      // Ctrl-U: the line is not run. Ctrl-C could come while the shell still completes, and be lost.
      shell.terminal.type('\u0015\r')
      await shell.prompt(from + keys.length)
    }
  })
}
