/**
 * Tells readers in this process that a build has changed. A lost signal costs a second: whoever waits
 * looks again by the clock, since another process may have made the change.
 */
import { EventEmitter } from 'node:events'

const lookAgainMs = 1_000

export class BuildSignals {
  readonly #emitter = new EventEmitter().setMaxListeners(0)

  changed(id: string): void {
    this.#emitter.emit(id)
  }

  /** Resolves with the next change, or after a second. Ask before reading what may change. */
  next(id: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.#emitter.off(id, done)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, lookAgainMs)
      this.#emitter.once(id, done)
      signal.addEventListener('abort', done, { once: true })
      if (signal.aborted) done()
    })
  }
}
