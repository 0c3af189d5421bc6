/** Processes: those that a program has written down by number, a line each, and those that a name finds. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'

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

/** Numbers of the host's processes, those inside of sandboxes among them, that have this argument. */
export function processesNaming(argument: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => argumentsOf(name).includes(argument))
    .map(Number)
}

function argumentsOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has ended meanwhile
  }
}
