/**
 * How often the images of a repository were pulled, and when each was last. A pull does not wait for its count: those of a
 * moment are gathered and written together, for a popular image is one row that all pulls would
 * queue for. Only a crash loses the counts of the last moment.
 */
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import type { Log } from '../log.ts'
import type { Digest } from './names.ts'

const gatherMs = 250

interface Gathered {
  count: number
  readonly manifests: Set<Digest>
}

export class DownloadCounts {
  readonly #database: Database
  readonly #log: Log
  readonly #gathered = new Map<number, Gathered>()
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(database: Database, log: Log) {
    this.#database = database
    this.#log = log
  }

  add(repositoryId: number, manifestDigest: Digest): void {
    const gathered = this.#gathered.get(repositoryId) ?? { count: 0, manifests: new Set() }
    gathered.count += 1
    gathered.manifests.add(manifestDigest)
    this.#gathered.set(repositoryId, gathered)
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
      for (const [repositoryId, { count, manifests }] of counts) {
        await this.#database.query(sql`
          update repositories set download_count = download_count + ${count}
          where id = ${repositoryId}`)
        // Rules count in days: the time of a popular image need not be written all the time.
        await this.#database.query(sql`
          update manifests set pulled_at = now()
          where repository_id = ${repositoryId} and digest = any(${[...manifests]})
            and (pulled_at is null or pulled_at < now() - interval '1 hour')`)
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'downloads were not counted')
    }
  }
}
