/** The wrapper around singularity and apptainer: whatever is not `enterprise` is the real program's. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { packageRoot } from '../../server/package-root.ts'
import { openTerminal, withoutTerminal } from '../support/terminal.ts'

const scratch = mkdtempSync(join(tmpdir(), 'berth-wrapper-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** An install prefix: the wrapper beside a bin/ whose commands are started by Node. */
const prefix = makeDirectory('prefix')
const wrapper = installWrapper(join(prefix, 'wrapper'))
symlinkSync(join(packageRoot, 'admin-cli/bin'), join(prefix, 'bin'))

/** The system's directories, in which there is neither singularity nor apptainer. */
const system = makeDirectory('system')
for (const program of ['readlink', 'basename', 'node']) {
  symlinkSync(which(program), join(system, program))
}

/** /bin/sh is dash on Debian and bash on Red Hat's systems. */
const shells = ['dash', 'bash']

for (const shell of shells) {
  test(`${shell}: arguments arrive as they were given`, async () => {
    const real = realProgram('printf')
    const words = ['a b', '', 'two\nlines', "it's", '"$HOME"', '*', '-x', '\\', 'enterprise', 'ü']
    const done = await wrapped(shell, ['<%s>', ...words], [real])
    assert.equal(done.stdout, words.map((word) => `<${word}>`).join(''))
    assert.deepEqual([done.code, done.stderr], [0, ''])
  })

  test(`${shell}: the exit status is the real program's`, async () => {
    const done = await wrapped(shell, ['-c', 'exit 42'], [realProgram('sh')])
    assert.deepEqual(done, { code: 42, stdout: '', stderr: '' })
  })

  test(`${shell}: the environment is what it was`, async () => {
    const done = await wrapped(shell, [], [realProgram('env')], { GREETING: 'good  day' })
    const names = done.stdout.split('\n').map((line) => line.split('=', 1)[0])
    assert.match(done.stdout, /^GREETING=good {2}day$/m)
    // Shells set these of their own.
    const own = new Set(['', 'PATH', 'GREETING', 'PWD', 'OLDPWD', 'SHLVL', '_'])
    assert.deepEqual(
      names.filter((name) => !own.has(name ?? '')),
      [],
    )
  })

  test(`${shell}: without a real program it says so, with the status of a missing command`, async () => {
    const done = await wrapped(shell, ['run', 'image.sif'], [])
    assert.deepEqual(done, {
      code: 127,
      stdout: '',
      stderr:
        "singularity: no program of this name on PATH but Berth's wrapper: load the module that has it.\n",
    })
  })

  test(`${shell}: wrappers of other prefixes and other versions are passed over`, async () => {
    const second = installWrapper(makeDirectory('second'))
    const later = makeDirectory('later')
    const text = readFileSync(join(wrapper, 'singularity'), 'utf8').replaceAll('passed', 'seen')
    writeProgram(join(later, 'singularity'), `${text}# of a later version\n`)
    const linked = makeDirectory('linked')
    symlinkSync(join(second, 'singularity'), join(linked, 'singularity'))
    const others = [second, wrapper, later, linked, wrapper]
    const done = await wrapped(shell, ['-c', 'exit 42'], [...others, realProgram('sh'), ...others])
    assert.equal(done.code, 42, done.stderr)
    assert.equal((await wrapped(shell, ['run'], others)).code, 127)
  })

  test(`${shell}: a script that looks for the next one as well does not go round with it`, async () => {
    const [one, two] = ['one', 'two'].map((name) => {
      const directory = makeDirectory(name)
      const skipSelf = `#!/bin/sh
IFS=:
for directory in $PATH; do
  [ "$directory" = "${directory}" ] && continue
  [ -x "$directory/singularity" ] && exec "$directory/singularity" "$@"
done
exit 9
`
      writeProgram(join(directory, 'singularity'), skipSelf)
      return directory
    })
    assert.ok(one !== undefined && two !== undefined)
    for (const others of [[one], [one, two], [two, wrapper, one]]) {
      const done = await wrapped(shell, ['-c', 'exit 42'], [...others, realProgram('sh')])
      assert.equal(done.code, 42, done.stderr)
    }
    // With nothing behind them the scripts end; how is their own affair.
    assert.notEqual((await wrapped(shell, ['run'], [one, two])).code, 0)
  })

  test(`${shell}: what the shell would not run is passed over`, async () => {
    const folder = makeDirectory('folder')
    mkdirSync(join(folder, 'singularity'))
    const text = makeDirectory('text')
    writeFileSync(join(text, 'singularity'), '#!/bin/sh\nexit 9\n', { mode: 0o644 })
    const missing = join(scratch, 'missing')
    const path = [missing, folder, text, realProgram('sh')]
    assert.equal((await wrapped(shell, ['-c', 'exit 42'], path)).code, 42)
  })

  test(`${shell}: enterprise is answered here, behind the client's own options too`, async () => {
    const real = realProgram('false')
    for (const options of [[], ['-d'], ['--debug', '-q'], ['-c', 'enterprise'], ['--config', '']]) {
      const done = await wrapped(shell, [...options, 'enterprise', 'version'], [real])
      assert.deepEqual(done, { code: 0, stdout: '1.0.0\n', stderr: '' }, options.join(' '))
    }
    const done = await wrapped(shell, ['enterprise', 'get', 'two words'], [real])
    assert.equal(done.code, 2)
    assert.match(done.stderr, /^singularity: /)
  })

  test(`${shell}: build --remote is answered here where the real program is Apptainer`, async () => {
    const apptainer = installApptainer()
    for (const words of [
      'build --remote',
      'build -r',
      '-q build --remote',
      '--config x build --remote',
    ]) {
      const done = await wrapped(shell, words.split(' '), [apptainer])
      assert.equal(done.code, 0, done.stderr)
      assert.match(done.stdout, /^build --remote: makes an image/)
    }
    const wrong = await wrapped(shell, ['build', '--remote', 'two words', 'x', 'y'], [apptainer])
    assert.deepEqual([wrong.code, wrong.stdout], [2, ''])
    assert.match(wrong.stderr, /^singularity: Give the image/)
    // With nothing behind the wrapper it can be done all the same.
    assert.equal((await wrapped(shell, ['build', '--remote', '--help'], [])).code, 0)
  })

  test(`${shell}: other builds, and those of SingularityCE, are the real program's`, async () => {
    const apptainer = installApptainer()
    for (const words of ['build a.sif a.def', 'exec a.sif build --remote', 'build -- --remote x']) {
      const done = await wrapped(shell, words.split(' '), [apptainer])
      assert.deepEqual(done, { code: 0, stdout: `${words}\n`, stderr: '' })
    }
    const done = await wrapped(shell, ['build', '--remote', 'a', 'b'], [realProgram('echo')])
    assert.deepEqual(done, { code: 0, stdout: 'build --remote a b\n', stderr: '' })
  })

  test(`${shell}: the word elsewhere is an argument like any other`, async () => {
    const real = realProgram('echo')
    for (const words of ['exec enterprise ls', 'run ./enterprise', '-c enterprise version']) {
      const done = await wrapped(shell, words.split(' '), [real])
      assert.deepEqual(done, { code: 0, stdout: `${words}\n`, stderr: '' })
    }
  })
}

test('each name finds its own program', async () => {
  const both = makeDirectory('both')
  writeProgram(join(both, 'singularity'), '#!/bin/sh\necho real singularity\n')
  writeProgram(join(both, 'apptainer'), '#!/bin/sh\necho real apptainer\n')
  const asked = async (name: string): Promise<string> =>
    (await finish(spawn(name, [], { env: { PATH: pathOf([wrapper, both]) } }))).stdout
  assert.equal(await asked('singularity'), 'real singularity\n')
  assert.equal(await asked('apptainer'), 'real apptainer\n')
})

test('the current directory counts where PATH has an empty place', async () => {
  const env = { PATH: `${wrapper}::${system}` }
  const child = spawn('singularity', ['-c', 'exit 42'], { env, cwd: realProgram('sh') })
  assert.equal((await finish(child)).code, 42)
})

test('a program that may be run but not read is run', async () => {
  const closed = makeDirectory('closed')
  copyFileSync(which('sh'), join(closed, 'singularity'))
  chmodSync(join(closed, 'singularity'), 0o111)
  for (const directory of [scratch, prefix, wrapper, closed, system]) chmodSync(directory, 0o755)
  const env = { PATH: pathOf([wrapper, closed]) }
  // Root reads everything; an account without a name does not.
  const account = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  const child = spawn('singularity', ['-c', 'exit 42'], { env, cwd: '/', ...account })
  assert.deepEqual(await finish(child), { code: 42, stdout: '', stderr: '' })
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const) {
  test(`${signal} reaches the real program, which is this very process`, async () => {
    const child = start([], [realProgram('cat')])
    child.stdin.write('ready\n')
    await once(child.stdout, 'data')
    assert.match(
      readFileSync(`/proc/${child.pid}/comm`, 'utf8'),
      /^(?:singularity|cat|coreutils)\n/,
    )
    const ended = once(child, 'exit')
    child.kill(signal)
    assert.deepEqual(await ended, [null, signal])
  })
}

test('standard input and output pass as they are', async () => {
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) % 256))
  const child = start([], [realProgram('cat')])
  const pieces: Buffer[] = []
  child.stdout.on('data', (piece: Buffer) => pieces.push(piece))
  child.stdin.end(bytes)
  await once(child, 'close')
  assert.ok(Buffer.concat(pieces).equals(bytes))
})

test('the terminal stays the terminal', { skip: withoutTerminal }, async (t) => {
  const command =
    'singularity -c \'test -t 0 && test -t 1 && test -t 2 && read line && echo "got $line" && exit 42\''
  const terminal = openTerminal(t, command, { PATH: pathOf([wrapper, realProgram('sh')]) })
  terminal.type('typed\r')
  await terminal.see('got typed')
  assert.equal(await terminal.closed, 42)
})

interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** `singularity ARGS` in one shell, the wrapper first on PATH and these directories behind it. */
async function wrapped(
  shell: string,
  args: readonly string[],
  directories: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const file = join(wrapper, 'singularity')
  const path = pathOf([wrapper, ...directories])
  // Going round in circles would not end by itself.
  const end = { timeout: 30_000, killSignal: 'SIGKILL' } as const
  return await finish(spawn(which(shell), [file, ...args], { env: { ...env, PATH: path }, ...end }))
}

function start(
  args: readonly string[],
  directories: readonly string[],
): ChildProcessWithoutNullStreams {
  return spawn('singularity', args, { env: { PATH: pathOf([wrapper, ...directories]) } })
}

async function finish(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()))
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()))
  child.stdin.end()
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

function pathOf(directories: readonly string[]): string {
  return [...directories, system].join(':')
}

function makeDirectory(name: string): string {
  return mkdtempSync(join(scratch, `${name}-`))
}

function installWrapper(directory: string): string {
  mkdirSync(directory, { recursive: true })
  const source = join(packageRoot, 'admin-cli/login-node/package/wrapper.sh')
  for (const name of ['singularity', 'apptainer']) {
    writeProgram(join(directory, name), readFileSync(source, 'utf8'))
  }
  return directory
}

/** As Apptainer's own packages have it: a link of the other name to a program, which says its words. */
function installApptainer(): string {
  const directory = makeDirectory('apptainer')
  writeProgram(join(directory, 'apptainer'), '#!/bin/sh\necho "$@"\n')
  symlinkSync('apptainer', join(directory, 'singularity'))
  return directory
}

/** A directory in which `singularity` is another program, which is no script. */
function realProgram(name: string): string {
  const directory = makeDirectory(name)
  symlinkSync(which(name), join(directory, 'singularity'))
  return directory
}

function writeProgram(file: string, text: string): void {
  writeFileSync(file, text)
  chmodSync(file, 0o755)
}

function which(program: string): string {
  if (program === 'node') return process.execPath
  for (const directory of ['/usr/bin', '/bin', '/usr/local/bin']) {
    const found = spawnSync('test', ['-x', join(directory, program)])
    if (found.status === 0) return join(directory, program)
  }
  throw new Error(`${program} is not installed`)
}
