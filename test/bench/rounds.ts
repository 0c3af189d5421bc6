import type { Case } from './case.ts'
import type { Contender, ContenderName } from './contender.ts'
import type { Sample } from './measure.ts'

export interface CaseResult {
  readonly case: Case
  /** By contender; the samples of one round stand at the same place. */
  readonly samples: ReadonlyMap<ContenderName, readonly Sample[]>
}

/** All contenders in every round, one after the other, so that noise hits all alike. */
export async function runCase(
  work: Case,
  contenders: readonly Contender[],
  rounds: number,
): Promise<CaseResult> {
  const taking = contenders.filter((contender) => work.isFor(contender))
  const samples = new Map<ContenderName, Sample[]>(taking.map(({ name }) => [name, []]))
  const count = Math.min(rounds, work.maxRounds ?? rounds)
  for (let round = 0; round < count; round += 1) {
    for (const contender of taking) {
      samples.get(contender.name)?.push(await work.sample(contender))
    }
  }
  return { case: work, samples }
}
