/** A cluster of one node for tests: munged, slurmctld and slurmd of Debian's packages, on free ports. */
import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, hostname, tmpdir } from 'node:os'
import { join } from 'node:path'

import { freePort } from './free-port.ts'
import { eventually } from './server.ts'
import type { Lifetime } from './server.ts'

const daemons = ['munged', 'slurmctld', 'slurmd'] as const
const commands = ['sbatch', 'squeue', 'scancel', 'sinfo'] as const

/** False, or why tests with Slurm are skipped. */
export function withoutSlurm(): false | string {
  const missing = [...daemons, ...commands].filter(
    (name) => spawnSync('/bin/sh', ['-c', `PATH=$PATH:/usr/sbin command -v ${name}`]).status !== 0,
  )
  if (missing.length > 0) return `not installed: ${missing.join(', ')}`
  return process.getuid?.() === 0 ? false : 'slurmd starts jobs as root only'
}

export interface Slurm {
  /** sbatch, squeue and scancel that know this cluster. */
  readonly commandDirectory: string
  /** Jobs that Slurm knows, a line each. */
  jobs(): string
}

export async function startSlurm(t: Lifetime): Promise<Slurm> {
  const home = mkdtempSync(join(tmpdir(), 'berth-slurm-'))
  chmodSync(home, 0o755)
  const children: ChildProcess[] = []
  t.after(async () => {
    for (const child of children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await ended
      clearTimeout(late)
    }
    rmSync(home, { recursive: true, force: true })
  })
  const daemon = (name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): void => {
    const PATH = `${process.env['PATH']}:/usr/sbin`
    children.push(spawn(name, args, { stdio: 'ignore', env: { PATH, ...env } }))
  }

  for (const name of ['munge', 'state', 'spool', 'bin']) mkdirSync(join(home, name))
  const socket = join(home, 'munge/socket')
  writeFileSync(join(home, 'munge/key'), randomBytes(1024), { mode: 0o600 })
  daemon('munged', [
    '--foreground',
    '--force',
    `--socket=${socket}`,
    ...['key', 'pid', 'log', 'seed'].map((name) => `--${name}-file=${join(home, 'munge', name)}`),
  ])
  const file = join(home, 'slurm.conf')
  writeFileSync(file, await configuration(home, socket))
  const env = { SLURM_CONF: file }
  daemon('slurmctld', ['-D', '-c'], env)
  daemon('slurmd', ['-D', '-c'], env)
  for (const name of commands) {
    const program = join(home, 'bin', name)
    writeFileSync(program, `#!/bin/sh\nSLURM_CONF=${file} exec /usr/bin/${name} "$@"\n`)
    chmodSync(program, 0o755)
  }
  const ask = (name: string, ...args: string[]): string =>
    spawnSync(join(home, 'bin', name), args, { timeout: 10_000 }).stdout.toString()
  await eventually(async () => /\bidle\b/.test(ask('sinfo', '-h')), 'the node is idle', 30_000)
  return { commandDirectory: join(home, 'bin'), jobs: () => ask('squeue', '-h', '-t', 'all') }
}

async function configuration(home: string, socket: string): Promise<string> {
  const name = hostname().split('.', 1)[0] ?? 'localhost'
  const settings = {
    ClusterName: 'berth',
    SlurmctldHost: `${name}(127.0.0.1)`,
    SlurmctldPort: await freePort(),
    SlurmdPort: await freePort(),
    AuthType: 'auth/munge',
    AuthInfo: `socket=${socket}`,
    SlurmUser: 'root',
    SlurmdUser: 'root',
    StateSaveLocation: join(home, 'state'),
    SlurmdSpoolDir: join(home, 'spool'),
    SlurmctldPidFile: join(home, 'slurmctld.pid'),
    SlurmdPidFile: join(home, 'slurmd.pid'),
    SlurmctldLogFile: join(home, 'slurmctld.log'),
    SlurmdLogFile: join(home, 'slurmd.log'),
    ProctrackType: 'proctrack/linuxproc',
    TaskPlugin: 'task/none',
    SelectType: 'select/cons_tres',
    SelectTypeParameters: 'CR_Core',
    MpiDefault: 'none',
    ReturnToService: 2,
    KillWait: 2,
    MinJobAge: 2,
    SchedulerParameters: 'sched_interval=1',
  }
  const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}`)
  lines.push(
    `NodeName=${name} NodeAddr=127.0.0.1 CPUs=${cpus().length} RealMemory=500 State=UNKNOWN`,
  )
  lines.push('PartitionName=build Nodes=ALL Default=YES MaxTime=INFINITE State=UP')
  return `${lines.join('\n')}\n`
}
