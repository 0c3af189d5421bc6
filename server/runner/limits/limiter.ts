/** What holds a whole build, with all its processes, within its memory, processes and CPUs. */
import { readFileSync } from 'node:fs'

import type { BuildLimits, RunnerSettings } from '../settings.ts'
import { openControlGroup } from './control-group.ts'
import { watchProcesses } from './process-watch.ts'

export interface Limiter {
  /** For the report: which one is at work. */
  readonly description: string
  /** Takes in the first process of a build, before it starts anything. */
  take(pid: number): Promise<void>
  /** Kills what is in it, where that is possible at one stroke. */
  kill(): Promise<void>
  /** Why the build has to be stopped; settles with undefined when the limiter is closed. */
  readonly exceeded: Promise<string | undefined>
  close(): Promise<void>
}

/** Throws with what to do when the host has not what the configuration asks for. */
export async function openLimiter(
  settings: RunnerSettings,
  limits: BuildLimits,
  name: string,
): Promise<Limiter> {
  if (settings.limiter !== 'cgroup') return watchProcesses(limits, settings.limiter)
  const group = await openControlGroup(limits, name)
  if (group !== undefined) return group
  throw new Error(
    'This host gives the runner no control group, so that nothing would hold the memory of a build together. ' +
      'Let systemd delegate one (Delegate=yes), or set limiter = "scheduler" where Slurm or PBS confines its jobs.',
  )
}

/** The arguments of prlimit for each process of a build; the number of processes counts for all. */
export function processLimits(limits: BuildLimits): string[] {
  const own = readFileSync('/proc/self/limits', 'utf8')
  const wanted: readonly (readonly [option: string, name: string, value: number])[] = [
    ['nproc', 'Max processes', limits.processes],
    ['fsize', 'Max file size', Math.max(limits.scratchBytes, limits.imageBytes)],
    ['data', 'Max data size', limits.memoryBytes],
    ['cpu', 'Max cpu time', limits.seconds * limits.cpus],
    ['core', 'Max core file size', 0],
    ['nofile', 'Max open files', 65_536],
    ['memlock', 'Max locked memory', 65_536],
    ['msgqueue', 'Max msgqueue size', 819_200],
    ['sigpending', 'Max pending signals', 4096],
  ]
  return wanted.map(
    ([option, name, value]) => `--${option}=${Math.min(value, hardLimit(own, name))}`,
  )
}

/** What the runner itself is held to: more than that cannot be set. */
function hardLimit(table: string, name: string): number {
  const line = table.split('\n').find((text) => text.startsWith(name))
  const hard = line?.slice(name.length).trim().split(/\s+/)[1]
  return hard === undefined || hard === 'unlimited' ? Infinity : Number(hard)
}
