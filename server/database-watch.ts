/**
 * Asks the database again and again whether it answers at all. One that hangs (its disk, its machine,
 * a stopped process) refuses nothing, so whoever asks it would wait for as long as a statement may take.
 */
import { setMaxListeners } from 'node:events'
import { setImmediate, setTimeout } from 'node:timers/promises'

import pg from 'pg'

const everyMs = 1_000
/** With the second look, everybody is told within 5 seconds. */
const patienceMs = 3_000
const secondLookMs = 500

export interface WatchEvents {
  readonly hangs: () => void
  readonly answers: () => void
}

export class DatabaseWatch {
  readonly #config: pg.ClientConfig
  readonly #events: WatchEvents
  readonly #closing = new AbortController()
  readonly #watching: Promise<void>
  #outage = outageOf()
  #client: pg.Client | undefined

  constructor(config: pg.ClientConfig, events: WatchEvents) {
    this.#config = {
      ...config,
      application_name: 'berth-watch',
      connectionTimeoutMillis: patienceMs,
    }
    this.#events = events
    this.#watching = this.#watch()
  }

  /** Aborted when the database hangs, and as long as it does; another one afterwards. */
  get outage(): AbortSignal {
    return this.#outage.signal
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#drop()
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      const hangs = (await this.#look()) === 'hangs'
      if (hangs !== this.#outage.signal.aborted && !signal.aborted) {
        if (hangs) {
          this.#events.hangs()
          this.#outage.abort()
        } else {
          this.#outage = outageOf()
          this.#events.answers()
        }
      }
      await setTimeout(everyMs, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  /** A database that refuses has answered: whoever asks it is told at once. */
  async #look(): Promise<'answers' | 'hangs'> {
    const done = new AbortController()
    const asked = this.#ask().then(
      () => 'answers' as const,
      (error: unknown) => (isTimeout(error) ? 'hangs' : 'answers'),
    )
    const late = async (): Promise<'hangs'> => {
      const { signal } = done
      await setTimeout(patienceMs, undefined, { signal, ref: false })
      // It may be this process that had no time, with the answer waiting to be read.
      await setImmediate()
      await setTimeout(secondLookMs, undefined, { signal, ref: false })
      return 'hangs'
    }
    try {
      const seen = await Promise.race([asked, late()])
      if (seen === 'hangs') this.#drop()
      return seen
    } catch {
      return 'answers'
    } finally {
      done.abort()
    }
  }

  async #ask(): Promise<void> {
    if (this.#client === undefined) {
      const client = new pg.Client(this.#config)
      this.#client = client
      const drop = (): void => {
        if (this.#client === client) this.#client = undefined
      }
      client.on('error', drop)
      client.on('end', drop)
      try {
        await client.connect()
      } catch (error) {
        drop()
        throw error
      }
    }
    await this.#client.query('select')
  }

  #drop(): void {
    const client = this.#client
    this.#client = undefined
    client?.end().catch(() => {})
  }
}

/** Every connection of the pool, and whoever waits for one, listens to it. */
function outageOf(): AbortController {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  return controller
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && /timeout/.test(error.message)
}
