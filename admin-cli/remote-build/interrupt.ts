/** Ctrl-C while a build runs: it asks once whether to cancel the build, and a second one is the answer. */
import { createInterface } from 'node:readline'

import type { OutputGate } from './follow.ts'
import type { Progress } from './progress.ts'

export interface Interrupts {
  /** Whether somebody wanted the build to end. */
  readonly cancelled: boolean
  stop(): void
}

/** `cancel` is called once, when somebody wants it. SIGTERM and SIGHUP, and Ctrl-C where nobody can be asked, want it. */
export function watchInterrupts(
  cancel: () => void,
  progress: Progress,
  gate: OutputGate,
): Interrupts {
  let cancelled = false
  let asking = false
  const end = (): void => {
    if (cancelled) return
    cancelled = true
    progress.info('Cancelling the build.')
    cancel()
  }
  const interrupted = (): void => {
    if (cancelled || asking) return
    if (!process.stdin.isTTY) return end()
    asking = true
    const release = gate.close()
    void askToCancel(progress).then((wanted) => {
      asking = false
      if (wanted) end()
      else progress.info('The build goes on.')
      release()
      return undefined
    })
    return undefined
  }
  process.on('SIGINT', interrupted)
  process.on('SIGTERM', end)
  process.on('SIGHUP', end)
  return {
    get cancelled() {
      return cancelled
    },
    stop: () => {
      process.off('SIGINT', interrupted)
      process.off('SIGTERM', end)
      process.off('SIGHUP', end)
    },
  }
}

async function askToCancel(progress: Progress): Promise<boolean> {
  progress.clear()
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await new Promise<boolean>((resolve) => {
      lines.on('SIGINT', () => {
        process.stderr.write('\n')
        resolve(true)
      })
      // Nobody can answer any more.
      lines.on('close', () => resolve(true))
      lines.question('Cancel the build? [y/N] ', (answer) => resolve(/^\s*y/i.test(answer)))
    })
  } finally {
    lines.close()
  }
}
