/** Completion for bash, as one function that knows all nouns and verbs. */
import type { Completion } from '../command.ts'
import type { NounCase, VerbCase } from './completion-cases.ts'

export function bashCompletion(cases: readonly NounCase[]): string {
  return `# Completion of berthctl for bash, made from what it understands: do not edit.

_berthctl() {
  local word=$2 previous=$3 noun=\${COMP_WORDS[1]-} verb=\${COMP_WORDS[2]-} first=3
  local words='' options='' names='' files='' value=''
  COMPREPLY=()

  if [ "$COMP_CWORD" -eq 1 ]; then
    words='${cases.map(({ noun }) => noun).join(' ')} --help'
  else
    case $noun in
${cases.map(verbList).join('\n')}
    esac
    # Without a verb, or with one that is still being typed, the noun's own words come first.
    if [ "$COMP_CWORD" -gt 2 ] && [[ " $words " == *" $verb "* ]]; then words=''; else verb='' first=2; fi
    local position=0 index before=''
    for ((index = first; index < COMP_CWORD; index++)); do
      before=\${COMP_WORDS[index]}
      [[ $before == -* ]] || position=$((position + 1))
    done
    case "$noun $verb" in
${cases.flatMap((noun) => noun.cases.map((one) => verbCase(noun, one))).join('\n')}
    esac
    [ -n "$value" ] || words="$words $options --help"
  fi

  if [ -n "$names" ] && [[ $word != -* ]]; then
    words="$words $(command berthctl --names "$names" 2>/dev/null)"
  fi
  if [ "$files" = file ]; then compopt -o default 2>/dev/null; fi
  if [ "$files" = directory ]; then compopt -o dirnames 2>/dev/null; fi
  local candidate
  while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -W "$words" -- "$word")
}

complete -F _berthctl berthctl
`
}

function verbList({ noun, verbs }: NounCase): string {
  return `      ${noun}) words='${verbs.map(([name]) => name).join(' ')}' ;;`
}

function verbCase({ noun }: NounCase, one: VerbCase): string {
  const values = one.values.map(
    ([option, completion]) =>
      `          ${option}) words='' options='' names='' files='' value=1; ${offers(completion)} ;;`,
  )
  return [
    `      '${noun} ${one.verb}')`,
    `        options='${one.options.map(([name]) => name).join(' ')}'`,
    ...wordCases(one),
    ...(values.length > 0 ? ['        case $previous in', ...values, '        esac'] : []),
    '        ;;',
  ].join('\n')
}

function wordCases({ words, isRepeated }: VerbCase): string[] {
  const cases = words.map((completion, index) => {
    const isLast = index === words.length - 1
    const pattern = isLast && isRepeated ? '*' : String(index)
    return completion === undefined ? '' : `          ${pattern}) ${offers(completion)} ;;`
  })
  const known = cases.filter((one) => one !== '')
  return known.length === 0 ? [] : ['        case $position in', ...known, '        esac']
}

function offers(completion: Completion | undefined): string {
  if (completion === undefined) return ':'
  if (completion === 'file' || completion === 'directory') return `files=${completion}`
  if (typeof completion === 'string') return `names=${completion}`
  return `words="$words ${completion.join(' ')}"`
}
