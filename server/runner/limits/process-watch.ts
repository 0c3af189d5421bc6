/**
 * Without a control group: the limits of single processes (prlimit), and a look at their sum several
 * times a second. A build that takes memory faster than that goes over for a moment, and what it puts
 * into memory files of its own making is not counted; that is why this is no default.
 */
import { readdir, readFile } from 'node:fs/promises'

import type { BuildLimits } from '../settings.ts'
import type { Limiter } from './limiter.ts'

const intervalMs = 300
const pageBytes = 4096

export function watchProcesses(limits: BuildLimits, kind: 'scheduler' | 'prlimit'): Limiter {
  let root: number | undefined
  let settle: (reason: string | undefined) => void = () => {}
  const exceeded = new Promise<string | undefined>((resolve) => (settle = resolve))
  let isLooking = false

  async function look(): Promise<void> {
    if (root === undefined || isLooking) return
    isLooking = true
    try {
      const { processes, bytes } = sumBelow(root, await readProcesses())
      if (bytes > limits.memoryBytes) {
        settle(`The build took more than its ${limits.memoryBytes} bytes of memory.`)
      } else if (processes > limits.processes) {
        settle(`The build started more than its ${limits.processes} processes.`)
      }
    } finally {
      isLooking = false
    }
  }
  const clock = setInterval(() => void look(), intervalMs)

  return {
    description:
      kind === 'scheduler'
        ? 'the scheduler of the job that this runner is, prlimit, and a watch over the processes'
        : 'prlimit and a watch over the processes: no control group',
    exceeded,
    take: async (pid) => {
      root = pid
    },
    kill: async () => {},
    close: async () => {
      clearInterval(clock)
      settle(undefined)
    },
  }
}

interface ProcessFacts {
  readonly parent: number
  readonly bytes: number
}

/** Orphans of a sandbox belong to its init, so that all its processes are below the first. */
function sumBelow(
  root: number,
  all: ReadonlyMap<number, ProcessFacts>,
): { processes: number; bytes: number } {
  const sum = { processes: 0, bytes: 0 }
  for (const [pid, { bytes }] of all) {
    let up: number | undefined = pid
    for (let steps = 0; up !== undefined && up !== root && steps < 100_000; steps++) {
      up = all.get(up)?.parent
    }
    if (up !== root) continue
    sum.processes += 1
    sum.bytes += bytes
  }
  return sum
}

async function readProcesses(): Promise<Map<number, ProcessFacts>> {
  const found = new Map<number, ProcessFacts>()
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    // A process may end between the two calls.
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    // Fields 4 (parent) and 24 (resident pages) of proc(5), after the name in parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [parent, pages] = [Number(fields[1]), Number(fields[21])]
    if (Number.isFinite(parent) && Number.isFinite(pages)) {
      found.set(Number(name), { parent, bytes: pages * pageBytes })
    }
  }
  return found
}
