/** From the words that somebody typed to the noun and the verb that they mean. */
import type { Command } from './command.ts'
import { helpOfNoun, helpOfNouns, helpOfVerb } from './documents/help.ts'
import { calledOf } from './documents/texts.ts'
import { UsageError } from './exit.ts'

export async function dispatch(
  nouns: readonly Command[],
  [name, ...args]: readonly string[],
): Promise<void> {
  if (name === undefined) throw new UsageError('Say which command: see berthctl --help.')
  if (isHelp(name) || name === 'help') {
    const [about] = args
    process.stdout.write(
      about === undefined ? helpOfNouns(nouns) : helpOfNoun(nounOf(nouns, about)),
    )
    return
  }
  const noun = nounOf(nouns, name)
  const [first, ...rest] = args
  const named = noun.verbs.find((verb) => verb.name !== '' && verb.name === first)
  if (args.some(isHelp)) {
    process.stdout.write(named === undefined ? helpOfNoun(noun) : helpOfVerb(noun, named))
    return
  }
  if (named !== undefined) return await named.run(calledOf(noun, named), rest)
  const silent = noun.verbs.find((verb) => verb.name === '')
  if (silent !== undefined) return await silent.run(calledOf(noun, silent), args)
  const verbs = noun.verbs.map((verb) => verb.name).join(', ')
  throw new UsageError(`Say what to do: ${verbs} (see berthctl ${noun.name} --help).`)
}

function nounOf(nouns: readonly Command[], name: string): Command {
  const noun = nouns.find((one) => one.name === name || one.aliases?.includes(name) === true)
  if (noun !== undefined) return noun
  throw new UsageError(`There is no command "${name}": see berthctl --help.`)
}

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h'
}
