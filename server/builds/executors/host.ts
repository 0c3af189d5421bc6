/**
 * Builds on a builder host: a program there (server/builder.ts) asks this server for work and starts
 * the runners. A handle is the name of the run, which the host keeps beside what it calls the process.
 */
import { randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'

import { Failure } from '../../failure.ts'
import type { Executor, JobStart } from '../executor.ts'
import type { HostPresence } from '../host-presence.ts'

export class HostExecutor implements Executor {
  readonly #name: string
  readonly #presence: HostPresence
  readonly #lostSeconds: number

  /** After `lostSeconds` of silence nothing on the host is believed to run. */
  constructor(name: string, presence: HostPresence, lostSeconds: number) {
    this.#name = name
    this.#presence = presence
    this.#lostSeconds = lostSeconds
  }

  async start({ id, arch, jobFile }: JobStart): Promise<string> {
    const { token } = JSON.parse(await readFile(jobFile, 'utf8')) as { token: string }
    await rm(jobFile, { force: true })
    const order = { run: randomBytes(16).toString('hex'), id, arch, token }
    const { run, started, said } = await this.#presence.order(this.#name, order)
    if (started) return run
    throw new Failure('unavailable', 'builder', said)
  }

  async state(handle: string): Promise<'running' | 'gone'> {
    const { state } = this.#presence.runOf(this.#name, handle) ?? {}
    if (this.#isLost()) return 'gone'
    // Before the first report to this process nobody knows.
    if (this.#presence.lastReport(this.#name) === undefined) return 'running'
    return state === 'running' || state === 'ending' ? 'running' : 'gone'
  }

  async reason(handle: string): Promise<string> {
    if (this.#isLost()) {
      const heardOn = this.#presence.lastReport(this.#name)?.heardOn
      const since = heardOn?.toISOString() ?? 'Berth was started'
      return `the builder ${this.#name} has not been heard of since ${since}`
    }
    return this.#presence.runOf(this.#name, handle)?.said ?? ''
  }

  /** What is lost ends when it comes back, since no build goes on with it. */
  async cancel(handle: string): Promise<void> {
    await this.#presence.cancel(this.#name, handle)
  }

  /** The host keeps its logs itself. */
  async removeLogs(): Promise<void> {}

  #isLost(): boolean {
    return this.#presence.silentFor(this.#name) > this.#lostSeconds
  }
}
