/** Processes that a program has written down by number, a line each. */
import { existsSync, readFileSync } from 'node:fs'

/** The processes that a step `note-start` has written down, and which of them live. */
export function noted(file: string): { readonly all: number[]; readonly alive: number[] } {
  const all = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []
  const alive = all.filter((pid) => {
    try {
      // A zombie is no process any more, only its status.
      return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    } catch {
      return false
    }
  })
  return { all, alive }
}
