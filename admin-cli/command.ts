/**
 * What `berthctl` understands, said once: each noun with its verbs, and each verb with its words and
 * options. The parser, --help, the manual pages and both completions are made from this
 * (documents/), so that none of them can say something else than the others.
 */
import { parseArgs } from 'node:util'

import { UsageError } from './exit.ts'

/** What the Tab key offers: names that Berth knows, files, or these words. */
export type Completion = 'account' | 'group' | 'space' | 'file' | 'directory' | readonly string[]

export interface OptionText {
  readonly type: 'boolean' | 'string'
  readonly summary: string
  /** What stands for the value in texts, such as NAME; only where the type is string. */
  readonly value?: string
  readonly complete?: Completion
}

interface ArgumentText {
  /** Only where the name and the summary of the verb do not say it. */
  readonly summary?: string
  readonly optional?: true
  /** This and all words after it; at least one unless it is optional. */
  readonly repeated?: true
  readonly complete?: Completion
}

/** By their names, without the dashes. */
type OptionTexts = Readonly<Record<string, OptionText>>
/** By what stands for them in texts, in their order. */
type ArgumentTexts = Readonly<Record<string, ArgumentText>>

type Words<Texts extends ArgumentTexts> = {
  readonly [Name in keyof Texts]: Texts[Name] extends { readonly repeated: true }
    ? readonly string[]
    : Texts[Name] extends { readonly optional: true }
      ? string | undefined
      : string
}

type Values<Texts extends OptionTexts> = {
  readonly [Name in keyof Texts]: Texts[Name]['type'] extends 'boolean'
    ? boolean
    : string | undefined
}

export interface Verb {
  /** Empty: what the noun does without a verb. */
  readonly name: string
  /** Half a sentence, small letters, no full stop. */
  readonly summary: string
  readonly arguments: ArgumentTexts
  readonly options: OptionTexts
  /** Paragraphs, with a blank line between them; lines that begin with a blank stay as they are. */
  readonly notes: string
  /** Gets the words after the verb. `called` is how it is typed, for messages. */
  readonly run: (called: string, args: readonly string[]) => Promise<void>
}

/** A noun of `berthctl`. */
export interface Command {
  readonly name: string
  readonly summary: string
  /** Other names under which it is found, for whoever has them in scripts; no text names them. */
  readonly aliases?: readonly string[]
  readonly verbs: readonly Verb[]
  /** Paragraphs after the verbs, as those of a verb. */
  readonly notes?: string
}

/** A verb whose words and options are parsed as they are described, and handed over by their names. */
export function verb<
  const Arguments extends ArgumentTexts = Readonly<Record<string, never>>,
  const Options extends OptionTexts = Readonly<Record<string, never>>,
>(described: {
  readonly name: string
  readonly summary: string
  readonly arguments?: Arguments
  readonly options?: Options
  readonly notes?: string
  readonly run: (words: Words<Arguments>, options: Values<Options>) => Promise<void>
}): Verb {
  const { name, summary, notes = '', run } = described
  const texts: ArgumentTexts = described.arguments ?? {}
  const options: OptionTexts = described.options ?? {}
  return {
    name,
    summary,
    notes,
    arguments: texts,
    options,
    run: async (called, args) => {
      const usage = synopsis(called, { arguments: texts, options })
      const parsed = parseArgs({
        args: [...args],
        allowPositionals: Object.keys(texts).length > 0,
        options: Object.fromEntries(
          Object.entries(options).map(([option, { type }]) => [option, { type }]),
        ),
      })
      const words = wordsOf(texts, parsed.positionals)
      if (words === undefined) throw new UsageError(`Say "${usage}".`)
      const values = Object.fromEntries(
        Object.entries(options).map(([option, { type }]) => [
          option,
          type === 'boolean' ? parsed.values[option] === true : parsed.values[option],
        ]),
      )
      await run(words as Words<Arguments>, values as Values<Options>)
    },
  }
}

/** As it is typed: `berthctl token list NAME [--all] [--json]`. */
export function synopsis(called: string, verb: Pick<Verb, 'arguments' | 'options'>): string {
  const words = Object.entries(verb.arguments).map(([name, { optional, repeated }]) => {
    const shown = repeated === true ? `${name} ...` : name
    return optional === true ? `[${shown}]` : shown
  })
  const options = Object.entries(verb.options).map(
    ([name, option]) => `[${spelling(name, option)}]`,
  )
  return [called, ...words, ...options].join(' ')
}

/** `--limit N`. */
export function spelling(name: string, { type, value = 'VALUE' }: OptionText): string {
  return type === 'boolean' ? `--${name}` : `--${name} ${value}`
}

/** Undefined where there are too few or too many. */
function wordsOf(
  texts: ArgumentTexts,
  positionals: readonly string[],
): Record<string, string | readonly string[] | undefined> | undefined {
  const rest = [...positionals]
  const words: Record<string, string | readonly string[] | undefined> = {}
  for (const [name, { optional, repeated }] of Object.entries(texts)) {
    if (rest.length === 0 && optional !== true) return undefined
    words[name] = repeated === true ? rest.splice(0) : rest.shift()
  }
  return rest.length === 0 ? words : undefined
}
