/** What the kernel knows about a process and its descendants (proc(5)). */
import { readdir, readFile, writeFile } from 'node:fs/promises'

import { KIB } from './units.ts'

export interface ProcessRecord {
  readonly pid: number
  readonly parent: number
  readonly name: string
  /** With what its children used that have ended. */
  readonly cpuSeconds: number
  /** Since boot; tells a process from a later one with the same number. */
  readonly startTicks: number
}

// What the kernel reports in: USER_HZ, 100 on every architecture that Node runs on.
const ticksPerSecond = 100

export async function processTree(root: number): Promise<ProcessRecord[]> {
  const all: ProcessRecord[] = []
  for (const name of await readdir('/proc')) {
    const record = /^\d+$/.test(name) ? await readProcess(Number(name)) : undefined
    if (record) all.push(record)
  }
  const tree = all.filter(({ pid }) => pid === root)
  // Grows while it is walked: children of children follow.
  for (const { pid } of tree) tree.push(...all.filter(({ parent }) => parent === pid))
  return tree
}

/** Undefined when it has ended. */
export async function readProcess(pid: number): Promise<ProcessRecord | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The name is in parentheses and may hold anything; the numbered fields follow it, from the third.
  const nameEnd = stat.lastIndexOf(')')
  const fields = stat.slice(nameEnd + 2).split(' ')
  const field = (number: number): number => Number(fields[number - 3])
  if (fields[0] === 'Z') return undefined
  return {
    pid,
    parent: field(4),
    name: stat.slice(stat.indexOf('(') + 1, nameEnd),
    cpuSeconds: (field(14) + field(15) + field(16) + field(17)) / ticksPerSecond,
    startTicks: field(22),
  }
}

export async function resetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, '5').catch(ignoreEnded)
}

/** Resident memory, now or at its highest since `resetPeak`; 0 when it has ended. */
export async function residentBytes(pid: number, which: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const match = new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(status)
  return Number(match?.[1] ?? 0) * KIB
}

function ignoreEnded(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error
}
