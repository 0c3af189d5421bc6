import { setInterval } from 'node:timers/promises'

import type { Contender } from './contender.ts'
import { processTree, residentBytes, resetPeak } from './process-tree.ts'
import type { ProcessRecord } from './process-tree.ts'
import { GIB, MIB } from './units.ts'

export interface Sample {
  /** MiB or requests a second. */
  readonly rate: number
  /** Of the server's processes: seconds a GiB, or a thousand requests. */
  readonly cpu: number
  /** The same, of the PostgreSQL that Berth started. */
  readonly databaseCpu: number
  /** Highest resident memory of the server's processes without PostgreSQL, added up. */
  readonly peakBytes: number
  /** Resident memory over time. */
  readonly residentBytes: readonly number[]
  readonly latency: Latency | undefined
}

export interface Latency {
  readonly p50Ms: number
  readonly p99Ms: number
}

/** What was done while the clock ran. */
export type Work =
  | { readonly bytes: number }
  | { readonly requests: number; readonly latency: Latency }

const samplingMs = 250

export async function measure(contender: Contender, action: () => Promise<Work>): Promise<Sample> {
  const before = await processTree(contender.pid)
  for (const { pid } of before) await resetPeak(pid)
  const servers = before.filter((record) => !isDatabase(record)).map(({ pid }) => pid)
  const watching = new AbortController()
  const watched = watchMemory(servers, watching.signal)
  const start = performance.now()
  let work: Work
  try {
    work = await action()
  } finally {
    watching.abort()
  }
  const seconds = (performance.now() - start) / 1000
  const after = await processTree(contender.pid)
  const cpuSeconds = cpuOf(after, false) - cpuOf(before, false)
  const databaseSeconds = cpuOf(after, true) - cpuOf(before, true)
  const units = 'bytes' in work ? work.bytes / GIB : work.requests / 1000
  return {
    rate: ('bytes' in work ? work.bytes / MIB : work.requests) / seconds,
    cpu: cpuSeconds / units,
    databaseCpu: databaseSeconds / units,
    peakBytes: await sumResident(servers, 'VmHWM'),
    residentBytes: await watched,
    latency: 'latency' in work ? work.latency : undefined,
  }
}

async function watchMemory(pids: readonly number[], signal: AbortSignal): Promise<number[]> {
  const seen: number[] = []
  try {
    for await (const _ of setInterval(samplingMs, undefined, { signal })) {
      seen.push(await sumResident(pids, 'VmRSS'))
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return seen
}

async function sumResident(pids: readonly number[], which: 'VmRSS' | 'VmHWM'): Promise<number> {
  const all = await Promise.all(pids.map((pid) => residentBytes(pid, which)))
  return all.reduce((sum, bytes) => sum + bytes, 0)
}

function cpuOf(tree: readonly ProcessRecord[], database: boolean): number {
  return tree
    .filter((record) => isDatabase(record) === database)
    .reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0)
}

function isDatabase({ name }: ProcessRecord): boolean {
  return name.startsWith('postgres')
}
