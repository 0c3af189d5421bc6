import { Failure } from '../failure.ts'

/** Who may work on what at the same time, within this process. */
export class Turns {
  readonly #busy = new Set<string>()
  readonly #last = new Map<string, Promise<unknown>>()

  isBusy(key: string): boolean {
    return this.#busy.has(key)
  }

  /** Whether anything runs that has to be alone: an upload, most likely. */
  get isAnyBusy(): boolean {
    return this.#busy.size > 0
  }

  /** Runs `work` unless something else runs under the key; then throws `conflict`. */
  async alone<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    if (this.#busy.has(key)) {
      throw new Failure('conflict', 'upload', 'Another request is working on this upload.')
    }
    this.#busy.add(key)
    try {
      return await work()
    } finally {
      this.#busy.delete(key)
    }
  }

  /** Runs `work` after everything that was asked for under the key before. */
  async inTurn<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(key) ?? Promise.resolve()
    const mine = before.then(work, work)
    this.#last.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
  }
}
