/**
 * How fast anybody may push keys: each costs a thread up to two seconds, whether or not anything comes
 * of it, so that attempts are counted and not changes. Of this process only, like the threads.
 */
import { Throttled } from '../failure.ts'

const perMinute = 10
const minuteMs = 60_000
/** Names that are remembered before those of the last minute are looked for. */
const manyNames = 1000

export class PushPace {
  readonly #attempts = new Map<string, number[]>()

  /** Counts an attempt of an account or an address; Failure `throttled` when it is one too many. */
  require(who: string, now = Date.now()): void {
    if (this.#attempts.size > manyNames) this.#forget(now)
    const recent = (this.#attempts.get(who) ?? []).filter((at) => at > now - minuteMs)
    const [oldest = now] = recent
    if (recent.length >= perMinute) {
      const seconds = Math.ceil((oldest + minuteMs - now) / 1000)
      throw new Throttled(
        'key',
        `Too many keys in one minute: go on in ${seconds} seconds.`,
        seconds,
      )
    }
    this.#attempts.set(who, [...recent, now])
  }

  #forget(now: number): void {
    for (const [who, attempts] of this.#attempts) {
      if ((attempts.at(-1) ?? 0) <= now - minuteMs) this.#attempts.delete(who)
    }
  }
}
