/** The manual pages, in the language of man(7): berthctl(1), and one page for each noun. */
import { spelling, synopsis } from '../command.ts'
import type { Command, Verb } from '../command.ts'
import { calledOf, footnotes } from './texts.ts'

export interface ManualPage {
  /** Of the file: berthctl-token.1 */
  readonly file: string
  readonly text: string
}

export function manualPages(nouns: readonly Command[], version: string): ManualPage[] {
  const all = nouns.map(({ name }) => pageName(name))
  return [
    page('berthctl', version, [
      ['NAME', `berthctl \\- administers the Berth of this host`],
      ['SYNOPSIS', '.B berthctl\n.I NOUN\n.RI [ VERB ]\n.RI [ WORD\\~... ]\n.RI [ OPTION\\~... ]'],
      ['DESCRIPTION', footnotes.map(roff).join('\n.PP\n')],
      ['NOUNS', nouns.map(({ name, summary }) => tagged(name, roff(summary))).join('\n')],
      ['EXIT STATUS', exitStatus],
      ['FILES', files],
      ['SEE ALSO', references(all)],
    ]),
    ...nouns.map((noun) => pageOf(noun, version, ['berthctl', ...all])),
  ]
}

const exitStatus = [
  tagged('0', 'It was done.'),
  tagged('1', 'It did not work; standard error says why.'),
  tagged('2', 'It was called wrongly, or the configuration is wrong.'),
].join('\n')

const files = [
  tagged('/etc/berth/berth.toml', "The server's configuration, unless BERTH_CONFIG names another."),
  tagged('/var/lib/berth', 'The data, unless the configuration or BERTH_DATA_DIR names another.'),
].join('\n')

function pageOf(noun: Command, version: string, all: readonly string[]): ManualPage {
  const name = pageName(noun.name)
  return page(name, version, [
    ['NAME', `${roff(name)} \\- ${roff(noun.summary)}`],
    ['SYNOPSIS', noun.verbs.map((verb) => usageOf(noun, verb)).join('\n.br\n')],
    ['COMMANDS', noun.verbs.map((verb) => verbText(noun, verb)).join('\n')],
    ...(noun.notes === undefined ? [] : [['NOTES', paragraphs(noun.notes)] as const]),
    ['EXIT STATUS', exitStatus],
    ['SEE ALSO', references(all.filter((other) => other !== name))],
  ])
}

function pageName(noun: string): string {
  return `berthctl-${noun}`
}

function page(
  name: string,
  version: string,
  sections: readonly (readonly [string, string])[],
): ManualPage {
  const head = `.TH ${name.toUpperCase()} 1 "" "Berth ${version}" "Administration of Berth"`
  const text = sections.map(([title, body]) => `.SH ${title}\n${body}`).join('\n')
  // Commands are copied out of manual pages: no word is broken, and no line is stretched.
  return { file: `${name}.1`, text: `${head}\n.nh\n.ad l\n${text}\n` }
}

/** What is typed is bold, what stands for something italic. */
function usageOf(noun: Command, verb: Verb): string {
  const called = calledOf(noun, verb)
  const rest = synopsis('', verb)
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => word.replaceAll(/[A-Z]{1,}/g, (name) => `\\fI${name}\\fR`))
    .map((word) => word.replaceAll(/--[a-z-]+/g, (option) => `\\fB${roff(option)}\\fR`))
  return [`.B ${roff(called)}`, ...(rest.length > 0 ? [rest.join(' ')] : [])].join('\n')
}

function verbText(noun: Command, verb: Verb): string {
  const words = Object.entries(verb.arguments).flatMap(([name, { summary }]) =>
    summary === undefined ? [] : [tagged(name, roff(summary))],
  )
  const options = Object.entries(verb.options).map(([name, option]) =>
    tagged(spelling(name, option), roff(option.summary)),
  )
  const inside = [...words, ...options]
  return [
    tagged(calledOf(noun, verb), roff(sentence(verb.summary))),
    ...(inside.length > 0 ? ['.RS', ...inside, '.RE'] : []),
    ...(verb.notes === '' ? [] : ['.IP', paragraphs(verb.notes, '.IP')]),
  ].join('\n')
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

function tagged(tag: string, body: string): string {
  return `.TP\n.B ${roff(tag)}\n${body}`
}

function paragraphs(text: string, between = '.PP'): string {
  return text
    .split('\n\n')
    .map((one) =>
      one.startsWith(' ') ? `.EX\n${roff(one)}\n.EE` : roff(one.replaceAll('\n', ' ')),
    )
    .join(`\n${between}\n`)
}

function references(names: readonly string[]): string {
  return names
    .map((name, index) => `.BR ${roff(name)} (1)${index === names.length - 1 ? '' : ','}`)
    .join('\n')
}

/** Text as it stands: no letter of it is a command. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '\\&...')
    .replaceAll(/^([.'])/gm, '\\&$1')
}
