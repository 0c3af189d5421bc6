/** The steps of `berthctl directory test` in words: a line each, and lines for what was found. */
import type { Step } from '../server/directory/steps.ts'
import { printable } from './printable.ts'

export function describeStep(step: Step): string {
  const [first = '', ...more] = linesOf(step)
  return [first, ...more.map((line) => `  ${line}`)].map((line) => `${printable(line)}\n`).join('')
}

function linesOf(step: Step): string[] {
  switch (step.step) {
    case 'server':
      return step.failure === undefined
        ? [`server ${step.url}: reached`]
        : [`server failed: ${step.failure}`]
    case 'certificate': {
      const { names, issuer, expiresAt, protocol } = step.peer
      const until = expiresAt.toISOString().slice(0, 10)
      return [
        `certificate of ${names.join(', ')}, by ${issuer}, valid until ${until} (${protocol})`,
      ]
    }
    case 'service-bind':
      return [`searching as ${step.as}`]
    case 'search':
      return [
        `search below ${step.base || '(the root)'} for ${step.filter}: ${step.found.length} found`,
        ...step.found,
        ...step.references.map((reference) => `refers to ${reference}, which is not followed`),
      ]
    case 'entry':
      return [
        `entry ${step.dn}`,
        ...Object.entries(step.attributes).map(
          ([name, values]) =>
            `${name}: ${values.length === 0 ? '(none to be read)' : values.join(' | ')}`,
        ),
      ]
    case 'person':
      return 'malformed' in step.person
        ? [`not usable: ${step.person.malformed}`]
        : [`name ${step.person.name}, id ${step.person.id}`]
    case 'state':
      return stateLines(step)
    case 'groups':
      return [
        `groups (${step.method}): ${step.groups.length} found`,
        ...step.groups.map(({ dn, name }) =>
          name === undefined ? `left out: ${dn}` : `${name}: ${dn}`,
        ),
      ]
    case 'password-bind':
      return [`password of ${step.as}: ${step.result}`]
    case 'reply':
  }
  return [`reply with the status ${step.status}, fields ${step.fields.join(', ') || 'none'}`]
}

function stateLines(step: Extract<Step, { step: 'state' }>): string[] {
  const { barred, attemptsLock, passwordExpired } = step
  return [
    barred === undefined ? 'account: in order' : `account: ${barred.reason}, ${barred.detail}`,
    ...(attemptsLock ? [`wrong passwords locked it, perhaps still: ${attemptsLock.detail}`] : []),
    ...(passwordExpired === undefined ? [] : [`password: expired, ${passwordExpired}`]),
  ]
}
