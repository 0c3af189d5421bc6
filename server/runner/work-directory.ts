/**
 * What a runner has on the host's disk while it works: one directory below the scratch directory, and
 * (for root) a mark for the uids of its build. Both carry the number and the start of the runner's
 * process, so that the next runner removes what a killed one has left.
 *
 *   berth-runner-<pid>-<start>-<random>/     the image on its way out, a canary
 *   berth-uids-<range> -> <pid>-<start>      see identity.ts
 */
import { readFileSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readlink, rm } from 'node:fs/promises'
import { join } from 'node:path'

export interface WorkDirectory {
  readonly path: string
  remove(): Promise<void>
}

/** Of this process: "<pid>-<start>". */
export const ownMark = `${process.pid}-${startOf(process.pid) ?? 0}`

export async function openWorkDirectory(scratchDir: string): Promise<WorkDirectory> {
  await removeLeftovers(scratchDir)
  const path = await mkdtemp(join(scratchDir, `berth-runner-${ownMark}-`))
  // The canary has to be one that everybody could read, if he saw it.
  await chmod(path, 0o711)
  return { path, remove: async () => await rm(path, { recursive: true, force: true }) }
}

async function removeLeftovers(scratchDir: string): Promise<void> {
  for (const name of await readdir(scratchDir)) {
    const path = join(scratchDir, name)
    const owner = /^berth-runner-(\d+-\d+)-/.exec(name)?.[1]
    const mark = name.startsWith('berth-uids-')
      ? await readlink(path).catch(() => undefined)
      : owner
    if (mark !== undefined && !isAlive(mark)) await rm(path, { recursive: true, force: true })
  }
}

function isAlive(mark: string): boolean {
  const [pid, start] = mark.split('-')
  return startOf(Number(pid)) === start
}

/** Field 22 of proc(5), which tells two processes of one number apart. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
