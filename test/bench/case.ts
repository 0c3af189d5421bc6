import type { Contender, ContenderName } from './contender.ts'
import type { Sample } from './measure.ts'
import type { Payload, PayloadSource } from './payload.ts'

/** One kind of work, done by one contender after the other, several times. */
export interface Case {
  /** What --only picks by its beginning. */
  readonly name: string
  readonly title: string
  readonly unit: 'MiB/s' | 'requests/s'
  /** Fewer than asked for, for what takes long and varies little. */
  readonly maxRounds?: number
  readonly goals: readonly Goal[]
  isFor(contender: Contender): boolean
  sample(contender: Contender): Promise<Sample>
}

/** What Berth has to reach, in the median. */
export type Goal =
  | { readonly kind: 'ratio'; readonly peer: ContenderName; readonly atLeast: number }
  | { readonly kind: 'cpu'; readonly atMostSeconds: number }
  | { readonly kind: 'memory'; readonly belowMegabytes: number }
  | { readonly kind: 'p99'; readonly atMostMs: number }

/** What the cases share. */
export interface Bench {
  readonly sizeBytes: number
  readonly payloads: PayloadSource
  /** A payload of `sizeBytes` that the contender has; put there when it is first asked for. */
  stored(contender: Contender): Promise<Payload>
  /** Flushes what earlier work left to be written, so that nobody pays for another one's. */
  settle(): Promise<void>
}
