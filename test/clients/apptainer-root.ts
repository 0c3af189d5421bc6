/**
 * The real Apptainer as people meet it: an ordinary user on a machine with a home of its own. It runs
 * in the root that `.ci/apptainer-root` makes, in mount and PID namespaces of its own, so that with
 * the end of a command every mount and every process of it is gone.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'

/** Of the account `user` in the root. */
const userId = 1000
const enterRoot = join(packageRoot, 'test/clients/enter-root.sh')

export interface ApptainerOptions {
  /** From findApptainerRoot(). */
  readonly root: string | undefined
  /** Added to an otherwise empty environment. */
  readonly environment?: Readonly<Record<string, string>>
  /** For one command; it is killed with everything it started, and the test fails. */
  readonly timeoutSeconds?: number
  /** Another machine's: the two exchange files there. By default a new one. */
  readonly work?: string
  /** What is in /etc/apptainer there; by default what the package has installed. */
  readonly etc?: string
}

/** With whose end everything goes: a test's context, for example. */
interface Owner {
  after(work: () => void): void
}

export interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface Apptainer {
  /** The current directory of every command (`/mnt` to the user) as the host sees it. */
  readonly work: string
  /** Makes the library at `url` the remote in use; with a token, as if logged in there. */
  useRemote(url: string, token?: string): void
  /** `apptainer <args>`, to its end. */
  run(...args: string[]): Promise<Outcome>
  /** What a person types into a shell there, with pipes. */
  type(line: string): Promise<Outcome>
}

/** The root that is there and whole; undefined too for somebody who may not enter it. */
export function findApptainerRoot(): string | undefined {
  const found = spawnSync(join(packageRoot, '.ci/apptainer-root'), ['--check'])
  return found.status === 0 ? found.stdout.toString().trim() : undefined
}

/** False, or why tests are skipped. With CI=true a missing root fails instead: .ci/run has made it. */
export function withoutApptainer(root: string | undefined): false | string {
  return root === undefined && process.env['CI'] !== 'true'
    ? 'there is no Apptainer root; as root, .ci/apptainer-root makes it'
    : false
}

/** A machine whose user has an empty home. Its directories go away with the test. */
export function openApptainer(t: Owner, options: ApptainerOptions): Apptainer {
  const { root, environment = {}, timeoutSeconds = 120 } = options
  if (root === undefined) throw new Error('There is no Apptainer root: run .ci/apptainer-root')
  const home = makeDirectory(t, 'berth-home-')
  const work = options.work ?? makeDirectory(t, 'berth-work-')

  async function execute(command: readonly string[]): Promise<Outcome> {
    const variables = { HOME: '/home/user', PATH: '/usr/bin:/usr/sbin', ...environment }
    const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`)
    // The command ends with its parent too, when that is killed in the middle of a test.
    const bound = ['--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child']
    const mounts = ['--mount', '--propagation', 'private']
    const where = [root ?? '', home, work, options.etc ?? '']
    const enter = ['sh', enterRoot, ...where, 'env', '-i', ...assignments]
    return await finish('setpriv', [...bound, ...mounts, ...enter, ...command], timeoutSeconds)
  }

  return {
    work,

    // `remote add` takes no address with a port; an entry written by hand may have one.
    useRemote(url, token) {
      const directory = join(home, '.apptainer')
      mkdirSync(directory, { recursive: true })
      const file = join(directory, 'remote.yaml')
      writeFileSync(file, remoteYaml(url, token), { mode: 0o600 })
      for (const path of [directory, file]) chownSync(path, userId, userId)
    },

    run: async (...args) => await execute(['apptainer', ...args]),
    type: async (line) => await execute(['bash', '-o', 'pipefail', '-c', line]),
  }
}

function makeDirectory(t: Owner, prefix: string): string {
  const path = mkdtempSync(join(tmpdir(), prefix))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  chownSync(path, userId, userId)
  return path
}

function remoteYaml(url: string, token: string | undefined): string {
  return [
    'Active: site',
    'Remotes:',
    '  site:',
    `    URI: ${url}`,
    // Plain http is used only when the entry allows it.
    '    Insecure: true',
    ...(token === undefined ? [] : [`    Token: ${token}`]),
    '',
  ].join('\n')
}

/** Not spawnSync: the server that the command talks to runs in this process. */
export async function finish(
  command: string,
  args: readonly string[],
  timeoutSeconds: number,
  env: NodeJS.ProcessEnv = process.env,
  cwd?: string,
): Promise<Outcome> {
  const child = spawn(command, args, {
    env,
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutSeconds * 1000,
    killSignal: 'SIGKILL',
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  return await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status, signal) => {
      if (status !== null) resolve({ status, ...output })
      else reject(new Error(`${args.join(' ')}\nended by ${signal}\n${output.stderr}`))
    })
  })
}
