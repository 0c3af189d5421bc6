/** From samples to medians, ratios and whether goals are met. */
import type { Goal } from './case.ts'
import type { ContenderName } from './contender.ts'
import type { Latency, Sample } from './measure.ts'
import type { CaseResult } from './rounds.ts'
import { median } from './statistics.ts'

export interface Summary {
  readonly name: string
  readonly title: string
  readonly unit: string
  readonly rows: readonly Row[]
  readonly goals: readonly GoalResult[]
}

export interface Row {
  readonly contender: ContenderName
  readonly rate: number
  readonly lowestRate: number
  readonly highestRate: number
  /** Berth's rate over this one's: the median of the rounds' ratios. */
  readonly ratio: number | undefined
  readonly cpu: number
  readonly databaseCpu: number
  /** The highest of all rounds. */
  readonly peakBytes: number
  readonly latency: Latency | undefined
  readonly samples: readonly Sample[]
}

export interface GoalResult {
  readonly text: string
  readonly value: number
  readonly met: boolean
}

export function summarise({ case: work, samples }: CaseResult): Summary {
  const berth = samples.get('berth')
  const rows = [...samples]
    .filter(([, taken]) => taken.length > 0)
    .map(([contender, taken]) => rowOf(contender, taken, berth))
  const { name, title, unit } = work
  return { name, title, unit, rows, goals: work.goals.flatMap((goal) => checkGoal(goal, rows)) }
}

function rowOf(
  contender: ContenderName,
  samples: readonly Sample[],
  berth: readonly Sample[] | undefined,
): Row {
  const rates = samples.map(({ rate }) => rate)
  const latencies = samples.flatMap(({ latency }) => latency ?? [])
  const isPeer = berth !== undefined && contender !== 'berth'
  return {
    contender,
    rate: median(rates),
    lowestRate: Math.min(...rates),
    highestRate: Math.max(...rates),
    ratio: isPeer ? median(rates.map((rate, i) => (berth[i]?.rate ?? NaN) / rate)) : undefined,
    cpu: median(samples.map(({ cpu }) => cpu)),
    databaseCpu: median(samples.map(({ databaseCpu }) => databaseCpu)),
    peakBytes: Math.max(...samples.map(({ peakBytes }) => peakBytes)),
    latency:
      latencies.length === 0
        ? undefined
        : {
            p50Ms: median(latencies.map(({ p50Ms }) => p50Ms)),
            p99Ms: median(latencies.map(({ p99Ms }) => p99Ms)),
          },
    samples,
  }
}

/** Nothing when what the goal speaks of was not measured. */
function checkGoal(goal: Goal, rows: readonly Row[]): GoalResult[] {
  const berth = rows.find(({ contender }) => contender === 'berth')
  if (berth === undefined) return []
  if (goal.kind === 'ratio') {
    const ratio = rows.find(({ contender }) => contender === goal.peer)?.ratio
    const text = `at least ${goal.atLeast} × ${goal.peer}`
    return ratio === undefined ? [] : [{ text, value: ratio, met: ratio >= goal.atLeast }]
  }
  if (goal.kind === 'cpu') {
    const text = `CPU at most ${goal.atMostSeconds} s/GiB`
    return [{ text, value: berth.cpu, met: berth.cpu <= goal.atMostSeconds }]
  }
  if (goal.kind === 'memory') {
    const megabytes = berth.peakBytes / 1e6
    const text = `resident below ${goal.belowMegabytes} MB`
    return [{ text, value: megabytes, met: megabytes < goal.belowMegabytes }]
  }
  const p99Ms = berth.latency?.p99Ms ?? NaN
  return [{ text: `p99 at most ${goal.atMostMs} ms`, value: p99Ms, met: p99Ms <= goal.atMostMs }]
}
