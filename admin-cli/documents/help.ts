/** What --help shows, of all nouns, of one and of a verb. */
import { spelling, synopsis } from '../command.ts'
import type { Command, Verb } from '../command.ts'
import { calledOf, footnotes } from './texts.ts'

const width = 100
/** Stands for the blanks at which no line ends. */
const inOne = '\u00a0'

export function helpOfNouns(nouns: readonly Command[]): string {
  const names = nouns.map(({ name, summary }): [string, string] => [name, summary])
  return [
    'berthctl: administers the Berth of this host\n\n',
    '  berthctl NOUN [VERB] [WORD ...] [OPTION ...]\n\n',
    columns(names),
    `\n${footnotes.map(wrapped).join('\n')}`,
  ].join('')
}

export function helpOfNoun(noun: Command): string {
  const verbs = noun.verbs.map((verb) => {
    const usage = hanging(unbroken(synopsis(calledOf(noun, verb), verb)), '  ', '      ')
    return usage + hanging(verb.summary, '      ', '      ')
  })
  const options = noun.verbs.filter(isSilent).map(optionsOf)
  const hint = noun.verbs.every(isSilent)
    ? ''
    : `"berthctl ${noun.name} VERB --help" says more of each.`
  const notes = [noun.notes ?? '', ...noun.verbs.filter(isSilent).map((verb) => verb.notes), hint]
  return [`berthctl ${noun.name}: ${noun.summary}\n`, ...verbs, ...options, ...notes]
    .map((part) => (part.startsWith(' ') || part.endsWith('\n') ? part : wrapped(part)))
    .filter((part) => part !== '')
    .join('\n')
}

export function helpOfVerb(noun: Command, verb: Verb): string {
  const usage = hanging(unbroken(synopsis(calledOf(noun, verb), verb)), '', '    ')
  const notes = verb.notes === '' ? '' : wrapped(verb.notes)
  return [usage + hanging(verb.summary, '  ', '  '), optionsOf(verb), notes]
    .filter((part) => part !== '')
    .join('\n')
}

function isSilent({ name }: Verb): boolean {
  return name === ''
}

/** The words and options of a verb that need more than their names. */
function optionsOf(verb: Verb): string {
  const words = Object.entries(verb.arguments).flatMap(([name, { summary }]) =>
    summary === undefined ? [] : [[name, summary] as const],
  )
  const options = Object.entries(verb.options).map(
    ([name, option]) => [spelling(name, option), option.summary] as const,
  )
  return columns([...words, ...options])
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const first = Math.max(0, ...rows.map(([name]) => name.length))
  const indent = ' '.repeat(first + 4)
  return rows
    .map(([name, text]) => hanging(`  ${name.padEnd(first)}  ${text}`, '', indent, first + 4))
    .join('')
}

/** What is in brackets stays on one line. */
function unbroken(usage: string): string {
  return usage.replaceAll(/\[[^\]]*\]/g, (part) => part.replaceAll(' ', inOne))
}

/** Lines of at most 100 signs: the first begins with one indent, the others with another. */
function hanging(text: string, first: string, others: string, from = 0): string {
  const lines: string[] = []
  let line = first + text.slice(0, from)
  let isEmpty = true
  for (const word of text.slice(from).split(' ')) {
    if (!isEmpty && line.length + 1 + word.length > width) {
      lines.push(line)
      line = others
      isEmpty = true
    }
    line += isEmpty ? word : ` ${word}`
    isEmpty = false
  }
  return [...lines, line].map((one) => `${one.replaceAll(inOne, ' ')}\n`).join('')
}

/** Paragraphs in lines; those that begin with a blank are left as they are. */
function wrapped(text: string): string {
  if (text === '') return ''
  return text
    .split('\n\n')
    .map((paragraph) =>
      paragraph.startsWith(' ')
        ? `${paragraph}\n`
        : hanging(paragraph.replaceAll('\n', ' '), '', ''),
    )
    .join('\n')
}
