/**
 * The runners of this host: what the server calls each, and what it is called here. Each has a file,
 * so that a restart of the program finds them again; the runners themselves do not notice one.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { z } from 'zod'

import type { LocalExecutor } from '../builds/executors/local.ts'
import type { Log } from '../log.ts'
import type { Order, ReportedRun } from './server-link.ts'

const record = z.object({
  run: z.string(),
  id: z.string(),
  /** Null while it is being started. */
  handle: z.string().nullable(),
})
type Record = z.infer<typeof record>

interface Run extends Record {
  state: ReportedRun['state']
  started: boolean
  said: string
}

export interface RunsOptions {
  readonly executor: LocalExecutor
  readonly directory: string
  /** Where runners reach the server. */
  readonly server: { readonly url: string; readonly ca: string | undefined }
  readonly archs: readonly string[]
  readonly slots: number
  readonly log: Log
}

export class Runs {
  readonly #options: RunsOptions
  readonly #runs = new Map<string, Run>()

  private constructor(options: RunsOptions) {
    this.#options = options
  }

  /** With the runs of whoever was here before. */
  static async open(options: RunsOptions): Promise<Runs> {
    const runs = new Runs(options)
    for (const name of ['runs', 'jobs']) {
      await mkdir(join(options.directory, name), { recursive: true, mode: 0o700 })
    }
    for (const name of await readdir(join(options.directory, 'runs'))) {
      if (name.endsWith('.json')) await runs.#resume(join(options.directory, 'runs', name))
    }
    await runs.look()
    return runs
  }

  report(): ReportedRun[] {
    return [...this.#runs.values()].map(({ run, id, state, started, said }) => ({
      run,
      id,
      state,
      started,
      said,
    }))
  }

  /** Never rejects: what cannot be started has ended, and says why. */
  async start({ run, id, arch, token }: Order): Promise<void> {
    if (this.#runs.has(run)) return
    const { executor, server, log } = this.#options
    const entry: Run = { run, id, handle: null, state: 'running', started: true, said: '' }
    const refusal = this.#refusalOf(arch)
    this.#runs.set(run, entry)
    try {
      if (refusal !== undefined) throw new Error(refusal)
      await this.#keep(entry)
      const jobFile = this.#jobFileOf(run)
      const job = { url: server.url, token, ...(server.ca === undefined ? {} : { ca: server.ca }) }
      await writeFile(jobFile, JSON.stringify(job), { mode: 0o600, flag: 'wx' })
      entry.handle = await executor.start({ id, jobFile })
      await this.#keep(entry)
      log.info({ 'build.id': id, handle: entry.handle }, 'a runner was started')
    } catch (error) {
      log.error({ err: error, 'build.id': id }, 'a runner could not be started')
      if (entry.handle !== null) await executor.cancel(entry.handle).catch(() => {})
      await rm(this.#jobFileOf(run), { force: true })
      Object.assign(entry, { state: 'ended', started: false, said: (error as Error).message })
    }
  }

  /** Ends a run with all its processes; the next report says how far that is. */
  async cancel(run: string): Promise<void> {
    const entry = this.#runs.get(run)
    if (entry?.state !== 'running' || entry.handle === null) return
    entry.state = 'ending'
    try {
      await this.#options.executor.cancel(entry.handle)
      entry.state = 'ended'
    } catch (error) {
      this.#options.log.error({ err: error, 'build.id': entry.id }, 'a runner does not end')
      // Said again, so that the server asks again.
      entry.state = 'running'
    }
  }

  async forget(run: string): Promise<void> {
    if (this.#runs.get(run)?.state !== 'ended') return
    await rm(this.#jobFileOf(run), { force: true })
    await rm(this.#fileOf(run), { force: true })
    this.#runs.delete(run)
  }

  /** Looks which have ended; true when one has. */
  async look(): Promise<boolean> {
    const { executor } = this.#options
    let changed = false
    for (const entry of this.#runs.values()) {
      if (entry.state !== 'running' || entry.handle === null) continue
      if ((await executor.state(entry.handle)) === 'running') continue
      entry.said = await executor.reason(entry.handle)
      entry.state = 'ended'
      changed = true
    }
    return changed
  }

  /** What the server asks for is not believed blindly. */
  #refusalOf(arch: string): string | undefined {
    const { archs, slots } = this.#options
    const busy = [...this.#runs.values()].filter(({ state }) => state !== 'ended').length
    if (!archs.includes(arch)) return `This builder makes no images for ${arch}.`
    return busy >= slots ? `All ${slots} places of this builder are taken.` : undefined
  }

  async #resume(file: string): Promise<void> {
    const text = await readFile(file, 'utf8')
    const known = record.parse(JSON.parse(text))
    const entry: Run = { ...known, state: 'running', started: true, said: '' }
    this.#runs.set(entry.run, entry)
    if (entry.handle !== null) return
    // A runner that has its job file already goes on, and ends when the server says so.
    await rm(this.#jobFileOf(entry.run), { force: true })
    Object.assign(entry, {
      state: 'ended',
      said: 'the builder was restarted while it started the runner',
    })
  }

  async #keep({ run, id, handle }: Record): Promise<void> {
    const file = this.#fileOf(run)
    await writeFile(`${file}.new`, JSON.stringify({ run, id, handle }), { mode: 0o600 })
    await rename(`${file}.new`, file)
  }

  #fileOf(run: string): string {
    return join(this.#options.directory, 'runs', `${run}.json`)
  }

  #jobFileOf(run: string): string {
    return join(this.#options.directory, 'jobs', `${run}.json`)
  }
}
