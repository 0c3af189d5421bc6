/** The first process of a sandbox as the host sees it: with its end, everything in there ends. */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

export interface FirstProcess {
  readonly pid: number
  /** Kills it, unless its number has gone to another process meanwhile. */
  kill(): Promise<void>
  /** Settles when it is gone; false when it still is there at the deadline. */
  gone(deadlineMs: number): Promise<boolean>
}

export async function holdProcess(pid: number): Promise<FirstProcess> {
  const started = await startOf(pid)
  const isThere = async (): Promise<boolean> =>
    started !== undefined && (await startOf(pid)) === started
  return {
    pid,
    kill: async () => {
      if (await isThere()) process.kill(pid, 'SIGKILL')
    },
    gone: async (deadlineMs) => {
      const deadline = Date.now() + deadlineMs
      while (await isThere()) {
        if (Date.now() > deadline) return false
        await delay(20)
      }
      return true
    },
  }
}

/** Field 22 of proc(5), which tells two processes of one number apart; undefined for one that ended. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields === undefined || fields[0] === 'Z' ? undefined : fields[19]
}
