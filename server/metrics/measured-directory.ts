/** The site's directory with a clock beside it: what it was asked, what came of it, how long it took. */
import type { Directory } from '../accounts/directory.ts'
import { Failure } from '../failure.ts'
import type { Meters } from './meters.ts'

export function measuredDirectory(directory: Directory, meters: Meters): Directory {
  const measure = async <Answer>(
    question: 'sign-in' | 'standing',
    ask: () => Promise<Answer>,
    outcomeOf: (answer: Answer) => string,
  ): Promise<Answer> => {
    const began = performance.now()
    const tell = (outcome: string): void =>
      meters.directoryAnswered(question, outcome, (performance.now() - began) / 1000)
    try {
      const answer = await ask()
      tell(outcomeOf(answer))
      return answer
    } catch (error) {
      // Throttling is thrown through the directory, which was not asked for its opinion then.
      const kind = error instanceof Failure ? error.kind : 'broken'
      tell(kind === 'throttled' ? 'limited' : kind === 'unavailable' ? 'unavailable' : 'broken')
      throw error
    }
  }
  const standing = directory.standing?.bind(directory)
  return {
    provider: directory.provider,
    signIn: async (...question) =>
      await measure(
        'sign-in',
        async () => await directory.signIn(...question),
        ({ outcome }) => outcome,
      ),
    ...(standing === undefined
      ? {}
      : {
          standing: async (ids) =>
            await measure(
              'standing',
              async () => await standing(ids),
              () => 'answered',
            ),
        }),
  }
}
