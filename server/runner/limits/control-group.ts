/**
 * A control group for one build: below the runner's own in the unified hierarchy (v2), where that is
 * delegated to it, or in the controllers of the old one (v1), where the runner is root.
 */
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import type { BuildLimits } from '../settings.ts'
import type { Limiter } from './limiter.ts'

const mountPoint = '/sys/fs/cgroup'
const cpuPeriodMicroseconds = 100_000
const leftAfterMs = 60_000

/** Undefined when neither can be made with memory and processes in it. */
export async function openControlGroup(
  limits: BuildLimits,
  name: string,
): Promise<Limiter | undefined> {
  return (await openUnified(limits, name)) ?? (await openOld(limits, name))
}

/** The memory of a build is that of its processes and that of its scratch, which is memory too. */
function memoryOf(limits: BuildLimits): number {
  return limits.memoryBytes + limits.scratchBytes
}

async function openUnified(limits: BuildLimits, name: string): Promise<Limiter | undefined> {
  const own = ownGroup('')
  if (own === undefined) return undefined
  const parent = join(mountPoint, own)
  const controllers = join(parent, 'cgroup.controllers')
  if (!existsSync(controllers)) return undefined
  const has = (await readFile(controllers, 'utf8')).split(/\s/)
  if (!has.includes('memory') || !has.includes('pids')) return undefined
  const group = join(parent, name)
  try {
    await enterRunnerGroup(parent)
    const wanted = ['memory', 'pids', 'cpu'].filter((controller) => has.includes(controller))
    const enable = wanted.map((controller) => `+${controller}`).join(' ')
    await writeFile(join(parent, 'cgroup.subtree_control'), enable)
    await makeGroup(group)
    await writeFile(join(group, 'memory.max'), String(memoryOf(limits)))
    await writeFile(join(group, 'pids.max'), String(limits.processes))
    await writeIfThere(join(group, 'memory.swap.max'), '0')
    await writeIfThere(join(group, 'memory.oom.group'), '1')
    const quota = limits.cpus * cpuPeriodMicroseconds
    await writeIfThere(join(group, 'cpu.max'), `${quota} ${cpuPeriodMicroseconds}`)
  } catch {
    await rmdir(group).catch(() => {})
    return undefined
  }
  return {
    description: `control group ${group} (v2: ${has.includes('cpu') ? 'memory, processes, CPU' : 'memory, processes'})`,
    exceeded: never,
    take: async (pid) => await writeFile(join(group, 'cgroup.procs'), String(pid)),
    kill: async () => await writeIfThere(join(group, 'cgroup.kill'), '1'),
    close: async () => await removeGroup(group),
  }
}

/** A group with processes has no children with controllers: who is in it moves into one of its own. */
async function enterRunnerGroup(parent: string): Promise<void> {
  const runner = join(parent, 'runner')
  await mkdir(runner, { recursive: true })
  await writeFile(join(runner, 'cgroup.procs'), String(process.pid))
}

/**
 * For a program that starts runners: it makes room where systemd has put it, if that is delegated, so
 * that they can have groups of their own.
 */
export async function makeRoomForGroups(): Promise<void> {
  const own = ownGroup('')
  if (own === undefined || own === '/') return
  const parent = join(mountPoint, own)
  if (!existsSync(join(parent, 'cgroup.controllers'))) return
  // Where nothing is delegated the self-test says what that means.
  await enterRunnerGroup(parent).catch(() => {})
}

async function openOld(limits: BuildLimits, name: string): Promise<Limiter | undefined> {
  const settings: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    memory: { 'memory.limit_in_bytes': memoryOf(limits) },
    pids: { 'pids.max': limits.processes },
    cpu: {
      'cpu.cfs_period_us': cpuPeriodMicroseconds,
      'cpu.cfs_quota_us': limits.cpus * cpuPeriodMicroseconds,
    },
  }
  const groups: string[] = []
  const close = async (): Promise<void> => {
    for (const group of groups) await removeGroup(group)
  }
  for (const [controller, files] of Object.entries(settings)) {
    const own = ownGroup(controller)
    const group = join(mountPoint, controller, own ?? '', name)
    try {
      if (own === undefined) throw new Error(`no controller ${controller}`)
      await makeGroup(group)
      groups.push(group)
      for (const [file, value] of Object.entries(files)) {
        await writeFile(join(group, file), String(value))
      }
    } catch {
      // Without the CPU's, prlimit and the clock are left; without the others there is no group.
      if (controller === 'cpu') continue
      await close()
      return undefined
    }
  }
  return {
    description: `control groups ${groups.join(', ')} (v1)`,
    exceeded: never,
    take: async (pid) => {
      for (const group of groups) await writeFile(join(group, 'cgroup.procs'), String(pid))
    },
    kill: async () => {},
    close,
  }
}

/** A build over the limit is killed by the kernel, and ends by itself. */
const never = new Promise<undefined>(() => {})

/** The group of this process in a controller of the old hierarchy, or (empty) in the unified one. */
function ownGroup(controller: string): string | undefined {
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').split('\n')) {
    const [, controllers, ...path] = line.split(':')
    if (controllers?.split(',').includes(controller)) return path.join(':').replace(/\/runner$/, '')
  }
  return undefined
}

async function writeIfThere(file: string, value: string): Promise<void> {
  if (existsSync(file)) await writeFile(file, value)
}

/**
 * Takes away what killed runners have left beside it: groups that are empty (the kernel removes no
 * other) and too old to be one that is just being filled.
 */
async function makeGroup(group: string): Promise<void> {
  const parent = dirname(group)
  for (const name of await readdir(parent)) {
    if (!/^berth-(?:build|self-test)-/.test(name)) continue
    const path = join(parent, name)
    const madeAt = await stat(path).then(
      ({ ctimeMs }) => ctimeMs,
      () => Infinity,
    )
    if (Date.now() - madeAt > leftAfterMs) await rmdir(path).catch(() => {})
  }
  await mkdir(group)
}

/** Processes that were killed a moment ago may still be counted. */
async function removeGroup(group: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      await rmdir(group)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      await delay(50)
    }
  }
}
