/**
 * How often the images of a repository were pulled. A pull does not wait for its count: those of a
 * moment are gathered and written together, for a popular image is one row that all pulls would
 * queue for. Only a crash loses the counts of the last moment.
 */
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import type { Log } from '../log.ts'

const gatherMs = 250

export class DownloadCounts {
  readonly #database: Database
  readonly #log: Log
  readonly #gathered = new Map<number, number>()
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(database: Database, log: Log) {
    this.#database = database
    this.#log = log
  }

  add(repositoryId: number): void {
    this.#gathered.set(repositoryId, (this.#gathered.get(repositoryId) ?? 0) + 1)
    this.#timer ??= setTimeout(() => (this.#writing = this.#write()), gatherMs).unref()
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#writing
    await this.#write()
  }

  async #write(): Promise<void> {
    this.#timer = undefined
    const counts = [...this.#gathered]
    this.#gathered.clear()
    try {
      for (const [repositoryId, count] of counts) {
        await this.#database.query(sql`
          update repositories set download_count = download_count + ${count}
          where id = ${repositoryId}`)
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'downloads were not counted')
    }
  }
}
