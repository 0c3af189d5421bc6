/**
 * The file by which a runner learns where Berth is and which job is its own. It holds the job's token:
 * only its owner reads it, and the runner removes it at once.
 */
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { BuilderHost } from '../builder-settings.ts'

export interface JobFilesOptions {
  /** Used where the builder has no directory of its own. */
  readonly directory: string
  /** Where runners reach Berth, where the builder does not say. */
  readonly serverUrl: (builder: BuilderHost) => string
}

export class JobFiles {
  readonly #options: JobFilesOptions

  constructor(options: JobFilesOptions) {
    this.#options = options
  }

  async write(builder: BuilderHost, id: string, token: string): Promise<string> {
    const directory = builder.jobDir ?? this.#options.directory
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const file = this.#pathOf(builder, id)
    const text = JSON.stringify({ url: this.#options.serverUrl(builder), token })
    const unfinished = `${file}.new`
    await rm(unfinished, { force: true })
    await writeFile(unfinished, text, { mode: 0o600, flag: 'wx' })
    await chmod(unfinished, 0o600)
    await rename(unfinished, file)
    return file
  }

  async remove(builder: BuilderHost, id: string): Promise<void> {
    await rm(this.#pathOf(builder, id), { force: true })
  }

  #pathOf(builder: BuilderHost, id: string): string {
    return join(builder.jobDir ?? this.#options.directory, `${id}.json`)
  }
}
