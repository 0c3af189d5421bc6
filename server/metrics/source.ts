/** A figure that is asked for when somebody looks: rows that are counted, the disk, a certificate. */
export interface Sample {
  readonly metric: string
  readonly value: number
  readonly labels?: Readonly<Record<string, string>>
}

/**
 * What one question gives: one statement, one call. To add figures write such an object and name it
 * in sources.ts, or give it to `Meters.add`. Labels are of the program (a state, a job), never of
 * people: no account, no repository, no token, no address.
 */
export interface MetricSource {
  /** Tells it from the others in `berth_source_up`. */
  readonly name: string
  readonly metrics: readonly MetricText[]
  readonly read: () => Promise<readonly Sample[]>
}

export interface MetricText {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

/** How old an answer may be; several who look (a Prometheus and its twin) cost one question. */
const freshMs = 15_000
/** A look never waits longer for one that does not answer, such as a database that hangs. */
const patienceMs = 2_000

/** The last answer of a source. */
export class CachedSource {
  readonly source: MetricSource
  readonly #freshMs: number
  readonly #patienceMs: number
  #answer: { readonly at: number; readonly samples: readonly Sample[] } | undefined
  #asking: Promise<void> | undefined

  constructor(source: MetricSource, times = { freshMs, patienceMs }) {
    this.source = source
    this.#freshMs = times.freshMs
    this.#patienceMs = times.patienceMs
  }

  /** Undefined when there is no answer of late: an old figure would pass for how it is now. */
  async look(): Promise<readonly Sample[] | undefined> {
    if (this.#isFresh()) return this.#answer?.samples
    this.#asking ??= this.#ask()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#patienceMs)
    })
    await Promise.race([this.#asking, late])
    clearTimeout(timer)
    return this.#isFresh() ? this.#answer?.samples : undefined
  }

  #isFresh(): boolean {
    return this.#answer !== undefined && performance.now() - this.#answer.at < this.#freshMs
  }

  /** Never rejects. One question at a time: whoever hangs is not asked again and again. */
  async #ask(): Promise<void> {
    try {
      this.#answer = { samples: await this.source.read(), at: performance.now() }
    } catch {
      this.#answer = undefined
    } finally {
      this.#asking = undefined
    }
  }
}
