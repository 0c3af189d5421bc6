/**
 * A real Slurm of one node on ports of its own: munged, slurmctld and slurmd from Debian's packages,
 * with their files in a directory of the test. Run by root, munged and slurmctld are unprivileged and
 * slurmd, which runs jobs as whoever submitted them, is root; else all are the tester's own.
 */
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'

import { freePort } from './free-port.ts'
import { eventually } from './server.ts'
import type { Lifetime } from './server.ts'

const programs = ['/usr/sbin/munged', '/usr/sbin/slurmctld', '/usr/sbin/slurmd', '/usr/bin/sbatch']

/** False, or the reason for node:test. In CI nothing is skipped: what is missing fails. */
export const skipSlurm: string | false =
  process.env['CI'] === 'true' || programs.every((program) => existsSync(program))
    ? false
    : 'slurmctld, slurmd, slurm-client or munge is not installed'

export interface Slurm {
  /** For SLURM_CONF. */
  readonly configuration: string
  readonly directory: string
  /** Numbers of the jobs that wait or run, as squeue lists them. */
  jobs(): string[]
  endJobs(): void
  scontrol(...args: readonly string[]): string
  startController(): Promise<void>
  stopController(): Promise<void>
}

interface Account {
  readonly name: string
  readonly uid?: number
  readonly gid?: number
}

const cpus = 2
const memoryMiB = 4096

export async function startSlurm(t: Lifetime): Promise<Slurm> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-slurm-'))
  chmodSync(directory, 0o755)
  const configuration = join(directory, 'slurm.conf')
  const [munge, slurm] = [accountOf('munge'), accountOf('slurm')]
  makeDirectory(join(directory, 'munge'), munge)
  makeDirectory(join(directory, 'state'), slurm)
  makeDirectory(join(directory, 'spool'), {})
  const key = join(directory, 'munge/key')
  writeFileSync(key, randomBytes(128), { mode: 0o600 })
  if (munge.uid !== undefined) chownSync(key, munge.uid, munge.gid ?? 0)
  const ports = [await freePort(), await freePort()] as const
  writeFileSync(configuration, configurationOf(directory, slurm.name, ports))

  const running = new Set<Daemon>()
  const run = (program: string, args: readonly string[], as: Partial<Account> = {}): Daemon => {
    const daemon = new Daemon(program, args, configuration, as)
    running.add(daemon)
    return daemon
  }
  const env = { ...process.env, SLURM_CONF: configuration }
  const call = (program: string, args: readonly string[]): string =>
    execFileSync(program, args, { env, encoding: 'utf8', timeout: 30_000, stdio: 'pipe' })
  t.after(async () => {
    // The node last: it is asked to end what jobs have left.
    for (const daemon of [...running].toReversed()) await daemon.end()
    rmSync(directory, { recursive: true, force: true })
  })

  const socket = join(directory, 'munge/socket')
  run('munged', mungedArgs(directory), munge)
  await eventually(async () => existsSync(socket), 'munged has its socket')
  let controller: Daemon | undefined
  const built: Slurm = {
    configuration,
    directory,
    jobs: () => {
      const lines = call('squeue', ['--noheader', '--format=%i']).trim()
      return lines === '' ? [] : lines.split('\n')
    },
    endJobs: () => {
      const left = built.jobs()
      if (left.length === 0) return
      answers(() => call('scancel', ['--batch', '--full', '--signal=KILL', ...left]))
      answers(() => call('scancel', left))
    },
    scontrol: (...args) => call('scontrol', args),
    startController: async () => {
      controller = run('slurmctld', ['-D'], slurm)
      await eventually(
        async () => answers(() => call('sinfo', ['-h'])),
        'slurmctld answers',
        30_000,
      )
    },
    stopController: async () => {
      await controller?.end()
    },
  }
  await built.startController()
  run('slurmd', ['-D', '-N', 'node'])
  await eventually(
    async () => call('sinfo', ['-h', '--format=%T']).trim() === 'idle',
    'the node is idle',
    30_000,
  )
  return built
}

class Daemon {
  readonly #child: ChildProcess
  readonly #ended: Promise<void>

  constructor(
    program: string,
    args: readonly string[],
    configuration: string,
    { uid, gid }: Partial<Account>,
  ) {
    this.#child = spawn(`/usr/sbin/${program}`, args, {
      cwd: '/',
      stdio: 'ignore',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', SLURM_CONF: configuration },
      ...(uid === undefined ? {} : { uid, gid: gid ?? uid }),
    })
    this.#ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject)
      this.#child.on('close', () => resolve())
    })
    // A program that is not there fails the wait for it.
    this.#ended.catch(() => {})
  }

  async end(): Promise<void> {
    const kill = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    this.#child.kill('SIGTERM')
    await this.#ended.catch(() => {})
    clearTimeout(kill)
  }
}

function configurationOf(
  directory: string,
  slurmUser: string,
  [controllerPort, nodePort]: readonly [number, number],
): string {
  const lines = [
    'ClusterName=berth',
    `SlurmctldHost=${hostname().split('.')[0]}(127.0.0.1)`,
    `SlurmctldPort=${controllerPort}`,
    `SlurmdPort=${nodePort}`,
    `SlurmUser=${slurmUser}`,
    `SlurmdUser=${userInfo().username}`,
    'AuthType=auth/munge',
    `AuthInfo=socket=${directory}/munge/socket`,
    'CredType=cred/munge',
    `StateSaveLocation=${directory}/state`,
    `SlurmdSpoolDir=${directory}/spool`,
    `SlurmctldPidFile=${directory}/state/slurmctld.pid`,
    `SlurmdPidFile=${directory}/spool/slurmd.pid`,
    `SlurmctldLogFile=${directory}/state/slurmctld.log`,
    `SlurmdLogFile=${directory}/spool/slurmd.log`,
    'ProctrackType=proctrack/linuxproc',
    'TaskPlugin=task/none',
    'SwitchType=switch/none',
    'MpiDefault=none',
    'SelectType=select/cons_tres',
    'SelectTypeParameters=CR_Core_Memory',
    'AccountingStorageType=accounting_storage/none',
    'JobAcctGatherType=jobacct_gather/none',
    'SchedulerType=sched/builtin',
    'ReturnToService=2',
    `NodeName=node NodeHostname=${hostname().split('.')[0]} NodeAddr=127.0.0.1 Port=${nodePort} CPUs=${cpus} RealMemory=${memoryMiB} State=UNKNOWN`,
    'PartitionName=build Nodes=node Default=YES MaxTime=INFINITE State=UP',
  ]
  return `${lines.join('\n')}\n`
}

function mungedArgs(directory: string): string[] {
  const at = (name: string): string => join(directory, 'munge', name)
  return [
    '--foreground',
    `--key-file=${at('key')}`,
    `--socket=${at('socket')}`,
    `--pid-file=${at('pid')}`,
    `--log-file=${at('log')}`,
    `--seed-file=${at('seed')}`,
  ]
}

/** An account that Debian's packages made; the tester's own when the tests are not run by root. */
function accountOf(name: string): Account {
  if (process.getuid?.() !== 0) return { name: userInfo().username }
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(':') ?? []
  return { name, uid: Number(uid), gid: Number(gid) }
}

function makeDirectory(directory: string, { uid, gid }: Partial<Account>): void {
  mkdirSync(directory, { mode: 0o755 })
  if (uid !== undefined) chownSync(directory, uid, gid ?? uid)
}

function answers(ask: () => unknown): boolean {
  try {
    ask()
    return true
  } catch {
    return false
  }
}
