/** What the help and the manual pages both say. */
import type { Command, Verb } from '../command.ts'

/** `berthctl token list`. */
export function calledOf(noun: Command, verb: Verb): string {
  return ['berthctl', noun.name, verb.name].filter((word) => word !== '').join(' ')
}

/** Of the whole command. */
export const footnotes: readonly string[] = [
  'It uses the configuration of the server: BERTH_CONFIG or /etc/berth/berth.toml, and BERTH_DATA_DIR. It works while the server runs and while it does not. Lists are tables for people; --json is for programs.',
  'What cannot be taken back says what it would do and asks; --yes is the answer where there is no terminal. What changes something is in the audit log with the name of whoever typed it.',
  '"berthctl NOUN --help" and "berthctl NOUN VERB --help" say more. Exit status: 0 done, 1 it did not work, 2 it was called wrongly.',
]
