/** The question before something that cannot be taken back. */
import { CommandError } from './exit.ts'
import { printable } from './printable.ts'
import { askYesOrNo } from './question.ts'

/** The option that answers it. */
export const yesOption = {
  type: 'boolean',
  summary: 'does it without asking',
} as const

/**
 * Returns when it was answered with yes, and throws otherwise: without a terminal too, for nobody
 * there has seen what would happen. `consequence` is whole sentences, `question` what is asked.
 */
export async function requireYes(
  consequence: string,
  question: string,
  yes: boolean,
): Promise<void> {
  if (yes) return
  const lines = consequence.split('\n').map(printable).join('\n')
  const answer = await askYesOrNo(`${lines}\n${question}`)
  if (answer === undefined) {
    throw new CommandError(`${printable(consequence)} Add --yes to do it.`)
  }
  if (!answer) throw new CommandError('Nothing was changed.')
}
