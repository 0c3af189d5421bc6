/** Completion for zsh: nouns and verbs with their summaries, options by _arguments. */
import type { Completion } from '../command.ts'
import type { NounCase, VerbCase } from './completion-cases.ts'

export function zshCompletion(cases: readonly NounCase[]): string {
  return `#compdef berthctl
# Completion of berthctl for zsh, made from what it understands: do not edit.

_berthctl_names() {
  # What _arguments says of the group comes first, then the kind of names.
  local -a names=(\${(f)"$(command berthctl --names $@[-1] 2>/dev/null)"})
  compadd "\${(@)@[1,-2]}" -a names
}

_berthctl() {
  local noun=$words[2] verb=$words[3]
  if (( CURRENT == 2 )); then
    local -a nouns=(
${cases.map(({ noun, summary }) => `      ${described(noun, summary)}`).join('\n')}
    )
    _describe noun nouns
    return
  fi
  local -a verbs=()
  case $noun in
${cases.map(verbList).join('\n')}
  esac
  if (( CURRENT == 3 )) && [[ $words[3] != -* ]]; then _describe verb verbs; fi
  # What follows is completed as if the noun, and the verb if there is one, were the command.
  if (( CURRENT > 3 )) && (( \${verbs[(I)$verb:*]} )); then
    shift 2 words
    (( CURRENT -= 2 ))
  else
    verb=''
    shift 1 words
    (( CURRENT -= 1 ))
  fi
  case "$noun $verb" in
${cases.flatMap((noun) => noun.cases.map((one) => verbCase(noun, one))).join('\n')}
  esac
}

_berthctl "$@"
`
}

function verbList({ noun, verbs }: NounCase): string {
  const list = verbs.map(([name, summary]) => described(name, summary)).join(' ')
  return `    ${noun}) verbs=(${list}) ;;`
}

function verbCase({ noun }: NounCase, one: VerbCase): string {
  const values = new Map(one.values)
  const options = one.options.map(([name, summary]) => {
    const isValue = values.has(name)
    const value = isValue ? `:value:${action(values.get(name))}` : ''
    return quoted(`${name}[${bracketed(summary)}]${value}`)
  })
  const words = one.words.map((completion, index) => {
    const place = one.isRepeated && index === one.words.length - 1 ? '*' : String(index + 1)
    return quoted(`${place}:word:${action(completion)}`)
  })
  const help = quoted('--help[what it does]')
  return `    '${noun} ${one.verb}') _arguments ${[...options, ...words, help].join(' ')} ;;`
}

function action(completion: Completion | undefined): string {
  if (completion === undefined) return ''
  if (completion === 'file') return '_files'
  if (completion === 'directory') return '_files -/'
  if (typeof completion === 'string') return `_berthctl_names ${completion}`
  return `(${completion.join(' ')})`
}

function described(name: string, summary: string): string {
  return quoted(`${name}:${summary.replaceAll(':', '\\:')}`)
}

/** Inside the brackets of a specification of _arguments. */
function bracketed(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll(/[[\]:]/g, (sign) => `\\${sign}`)
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
