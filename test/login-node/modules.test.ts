/** The executable on a login node: loaded as a module, typed at a terminal, before a real server. */
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import type { TestContext } from 'node:test'

import { sql } from '../../server/database.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { withoutTerminal } from '../support/terminal.ts'
import { testCompletion } from './completion.ts'
import { installLoginTools } from './install.ts'
import { modulePrograms } from './module-programs.ts'
import type { ModuleProgram } from './module-programs.ts'
import { commands, example } from './readme.ts'
import { openShell, shellNames } from './shell.ts'
import type { Shell, ShellName } from './shell.ts'

const server = await startServer({ after }, { settings: { site: { name: 'Example' } } })
const alice = await server.account('alice')
await alice.push('alice/tools/samtools', 'latest', makeSif({ seed: 'samtools' }))
const prefix = await installLoginTools({ after }, { url: server.url, name: 'example' })

const question = 'Example portal password :'
const password = 'alice-password'
const hasZsh = existsSync('/usr/bin/zsh') || process.env['CI'] === 'true'

/** Somebody's shell in their empty home; `singularity` is bash, which shows what it was given. */
async function login(
  t: TestContext,
  { init }: ModuleProgram,
  shellName: ShellName,
  env: Readonly<Record<string, string>> = {},
): Promise<{ shell: Shell; home: string }> {
  const home = mkdtempSync(join(tmpdir(), 'berth-home-'))
  t.after(() => rmSync(home, { recursive: true, force: true }))
  const programs = join(home, 'programs')
  mkdirSync(programs)
  copyFileSync('/bin/bash', join(programs, 'singularity'))
  const variables = { HOME: home, PATH: `${programs}:/usr/bin:/bin`, TZ: 'Asia/Tokyo', ...env }
  const shell = await openShell(t, shellName, variables, home)
  await shell.done(`. ${init}/${shellName}`)
  return { shell, home }
}

/** As the user does who has read README.md. */
async function load(shell: Shell, { modules }: ModuleProgram): Promise<void> {
  const [use = '', module = ''] = commands.install.slice(2)
  await shell.done(use.replace(`${example.prefix}/modulefiles`, join(prefix, modules)))
  await shell.done(module)
}

for (const program of modulePrograms) {
  const skip = program.skip || withoutTerminal

  test(`${program.name}: a token for a password that nobody else sees`, { skip }, async (t) => {
    const { shell, home } = await login(t, program, 'bash')
    await load(shell, program)
    const from = shell.terminal.text().length
    shell.terminal.type('get_singularity_token --user alice > token\r')
    await shell.terminal.see(question, from)
    const waiting = commandsOf(prefix)
    assert.equal(waiting.length, 1)
    // The server cannot answer as long as somebody else has the table.
    await server.appliance.database.transaction(async (tx) => {
      await tx.query(sql`lock table tokens`)
      shell.terminal.type(`${password}\r`)
      await shell.terminal.see('just a moment, please...', from)
      assert.deepEqual(commandsOf(prefix), waiting)
      assertUnseen(waiting[0] ?? '')
    })
    const { status, text } = await shell.prompt(from)
    assert.equal(status, 0, text)
    assert.equal(text.slice(text.indexOf('\n') + 1), `${question}\njust a moment, please...\n`)
    const token = readFileSync(join(home, 'token'), 'utf8')
    assert.match(token, /^\S{200,}\n$/)
    assert.ok(!shell.terminal.text().includes(token.trim()))
    // The terminal echoes again.
    assert.match(await shell.done('stty -a'), /[^-]echo\b/)
  })

  test(`${program.name}: what README.md says that people type`, { skip }, async (t) => {
    const { shell, home } = await login(t, program, 'bash')
    await load(shell, program)
    const extra = await server.signIn('alice')
    const id = extra.credentials?.tokenId ?? ''
    signIn(home, alice.credentials?.token ?? '')
    const screens = new Map<string, string>()
    for (const line of commands.typed) {
      // What the real program does is tried with the real program, in test/clients.
      if (line.startsWith('singularity remote login')) continue
      const typed = line.replace('NAME', 'alice').replace('TOKEN_ID', id)
      screens.set(line, await answer(shell, typed))
    }
    const shown = (start: string): string =>
      [...screens].find(([line]) => line.startsWith(start))?.[1] ?? assert.fail(start)
    assert.match(
      shown('list_singularity_tokens'),
      new RegExp(
        `\nToken ID: ${id}\nIssued: \\w{3} \\d+, \\d{4} at \\d+:\\d\\d [ap]m JST\nExpires: `,
      ),
    )
    assert.ok(
      shown('show_container_library_usage').endsWith(
        'used(GiB) limit(GiB) num_of_repositories\n1         100        1',
      ),
    )
    assert.match(shown('singularity enterprise get col'), /^alice\/tools tools 1 *$/m)
    assert.equal((await extra.get('/v1/token-status')).status, 404)
    assert.match(readFileSync(join(home, 'token'), 'utf8'), /^\S{200,}\n$/)
  })

  test(`${program.name}: singularity enterprise, under both names`, { skip }, async (t) => {
    const { shell, home } = await login(t, program, 'bash')
    await load(shell, program)
    // The module's own list of endpoints is all there is: without a token, nothing but what is public.
    const status = await shell.run('singularity enterprise status')
    assert.match(status.text, /No authentication token provided/)
    signIn(home, alice.credentials?.token ?? '')
    for (const name of ['singularity', 'apptainer']) {
      assert.match(await shell.done(`${name} enterprise status`), /Auth token is valid/)
      for (const [what, row] of [
        ['col alice', /^alice\/tools tools 1 *$/m],
        ['rep alice/tools', /^alice\/tools\/samtools samtools /m],
        ['img alice/tools/samtools', /\blatest\b/],
      ] as const) {
        assert.match(await shell.done(`${name} enterprise get ${what}`), row)
      }
    }
    const refused = await shell.run('singularity enterprise delete token 0123456789abcdef01234567')
    assert.equal(refused.status, 1)
    assert.match(refused.text, /^singularity: .*\[404\] You have no token/m)
  })

  test(`${program.name}: everything else is the real program's`, { skip }, async (t) => {
    const { shell } = await login(t, program, 'bash')
    await load(shell, program)
    assert.match(await shell.done('singularity --version'), /^GNU bash, version/)
    assert.equal((await shell.run("singularity -c 'exit 42'")).status, 42)
    assert.equal(await shell.done(`singularity -c 'printf "<%s>" "$@"' x 'a  b' ''`), '<a  b><>')
    assert.equal(
      await shell.done("singularity -c 'test -t 0 && test -t 1 && echo terminal'"),
      'terminal',
    )
    const from = shell.terminal.text().length
    shell.terminal.type("singularity -c 'echo rea''dy; exec sleep 100'\r")
    await shell.terminal.see('ready', from)
    shell.terminal.type('\u0003')
    assert.equal((await shell.prompt(from)).status, 128 + 2)
    const missing = await shell.run('apptainer run image.sif')
    assert.equal(missing.status, 127)
    assert.match(missing.text, /^apptainer: no program of this name on PATH but Berth's wrapper/)
  })

  test(
    `${program.name}: the manual pages are found, and still those of the system`,
    { skip },
    async (t) => {
      const { shell, home } = await login(t, program, 'bash')
      await load(shell, program)
      const pages = readdirSync(join(prefix, 'share/man/man1'))
      assert.equal(pages.length, 4)
      for (const page of pages) {
        const found = await shell.done(`man -w ${page.replace(/\.1$/, '')}`)
        assert.equal(found, join(prefix, 'share/man/man1', page))
        const file = join(home, page)
        assert.equal(await shell.done(`man --warnings ${found} 2>&1 > ${file}`), '')
        assert.match(readFileSync(file, 'utf8'), /NAME\n[^]*SYNOPSIS\n/)
      }
      assert.match(await shell.done('manpath -q'), /(?:^|:)\/usr\/share\/man(?:$|:)/)
    },
  )

  for (const shellName of shellNames) {
    const noShell = shellName === 'zsh' && !hasZsh ? 'zsh is not installed' : false
    for (const preset of [false, true]) {
      const where = preset ? 'variables that were set' : 'variables that were not'
      const title = `${program.name}, ${shellName}: module unload leaves ${where}`
      test(title, { skip: skip || noShell }, async (t) => {
        const env: Record<string, string> = preset
          ? { MANPATH: '/opt/man:', XDG_DATA_DIRS: '/opt/share:/usr/share' }
          : {}
        const { shell } = await login(t, program, shellName, env)
        const before = await environment(shell)
        await load(shell, program)
        const loaded = await environment(shell)
        const path = loaded.get('PATH') ?? ''
        assert.ok(path.startsWith(`${prefix}/wrapper:${prefix}/bin:`), path)
        assert.equal(loaded.get('BERTH_URL'), server.url)
        assert.equal(loaded.get('BERTH_REMOTES'), `${prefix}/etc/remote.yaml`)
        assert.equal(await shell.done('command -v singularity'), `${prefix}/wrapper/singularity`)
        await shell.done('module unload berth')
        const after = await environment(shell)
        for (const name of ['PATH', 'BERTH_URL', 'BERTH_REMOTES', ...Object.keys(env)]) {
          // Lmod writes the empty place at the end, which is one for the system, with two colons.
          assert.equal(after.get(name)?.replace(/::$/, ':'), before.get(name), name)
        }
        if (preset) return
        // What is empty or the system's own is what programs take an unset variable for.
        assert.match(after.get('MANPATH') ?? '', /^:{0,2}$/)
        assert.match(after.get('XDG_DATA_DIRS') ?? '', /^(?:\/usr\/local\/share:\/usr\/share)?$/)
      })
    }
  }
}

testCompletion(prefix)

/** Types a command and, where it asks for it, the password. Returns what it showed. */
async function answer(shell: Shell, line: string): Promise<string> {
  if (!/^(?:get|list|show)_/.test(line)) return await shell.done(line)
  const from = shell.terminal.text().length
  const [command = '', ...rest] = line.split(' ')
  shell.terminal.type(`${[command, '--user alice', ...rest].join(' ')}\r`)
  await shell.terminal.see(question, from)
  shell.terminal.type(`${password}\r`)
  const { status, text } = await shell.prompt(from)
  assert.equal(status, 0, text)
  return text.trimEnd()
}

/** As `remote login` writes it for an endpoint of the host. */
function signIn(home: string, token: string): void {
  for (const client of ['singularity', 'apptainer']) {
    mkdirSync(join(home, `.${client}`))
    const text = `Active: ''\nRemotes:\n  example:\n    URI: ${new URL(server.url).host}\n    Token: ${token}\n`
    writeFileSync(join(home, `.${client}/remote.yaml`), text, { mode: 0o600 })
  }
}

async function environment(shell: Shell): Promise<ReadonlyMap<string, string>> {
  const lines = (await shell.done('env')).split('\n')
  return new Map(
    lines.map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)] as const),
  )
}

/** The processes that run the executable of this prefix. */
function commandsOf(directory: string): string[] {
  const executable = join(directory, 'libexec/berth-login-tools')
  return processes().filter((pid) => read(() => readlinkSync(`/proc/${pid}/exe`)) === executable)
}

/** The password is in no list of processes and in nobody's environment. */
function assertUnseen(pid: string): void {
  assert.match(
    read(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')),
    /get_singularity_token/,
  )
  assert.match(
    read(() => readFileSync(`/proc/${pid}/environ`, 'utf8')),
    /BERTH_URL=/,
  )
  for (const one of processes()) {
    for (const file of ['cmdline', 'environ']) {
      const text = read(() => readFileSync(`/proc/${one}/${file}`, 'utf8'))
      assert.ok(!text.includes(password), `/proc/${one}/${file} has the password`)
    }
  }
}

function processes(): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name))
}

/** Empty when the process has ended, or is somebody else's. */
function read(look: () => string): string {
  try {
    return look()
  } catch {
    return ''
  }
}
