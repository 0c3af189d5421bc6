/** What both shells complete, noun by noun and verb by verb. */
import type { Command, Completion, Verb } from '../command.ts'

export interface VerbCase {
  /** Empty: without a verb. */
  readonly verb: string
  readonly options: readonly (readonly [name: string, summary: string])[]
  /** By the option, with its dashes. */
  readonly values: readonly (readonly [option: string, completion: Completion | undefined])[]
  /** Of the words after the verb; the last one is that of all further ones if it is repeated. */
  readonly words: readonly (Completion | undefined)[]
  readonly isRepeated: boolean
}

export interface NounCase {
  readonly noun: string
  readonly summary: string
  readonly verbs: readonly (readonly [name: string, summary: string])[]
  readonly cases: readonly VerbCase[]
}

export function completionCases(nouns: readonly Command[]): readonly NounCase[] {
  return nouns.map(({ name, summary, verbs }) => ({
    noun: name,
    summary,
    verbs: verbs
      .filter((verb) => verb.name !== '')
      .map((verb): [string, string] => [verb.name, verb.summary]),
    cases: verbs.map(caseOf),
  }))
}

function caseOf(verb: Verb): VerbCase {
  const options = Object.entries(verb.options)
  const words = Object.values(verb.arguments)
  return {
    verb: verb.name,
    options: options.map(([name, { summary }]): [string, string] => [`--${name}`, summary]),
    values: options
      .filter(([, { type }]) => type === 'string')
      .map(([name, { complete }]): [string, Completion | undefined] => [`--${name}`, complete]),
    words: words.map(({ complete }) => complete),
    isRepeated: words.at(-1)?.repeated === true,
  }
}
