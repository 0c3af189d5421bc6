/** What stands against a definition file when it is handed in, said with the lines that are wrong. */
import type { AccountActor, Actor } from '../accounts/actor.ts'
import type { BuilderSettings } from '../builder-settings.ts'
import type { Digest } from '../content/names.ts'
import { Failure, invalid } from '../failure.ts'
import { checkDefinition } from './definition/check.ts'
import type { Definition, Problem } from './definition/definition.ts'
import { contextNamesOf } from './definition/files.ts'
import { parseDefinition } from './definition/parse.ts'
import { requireBuilder } from './rights.ts'
import type { BuildSources } from './sources.ts'

export interface AcceptedDefinition {
  readonly text: string
  readonly parsed: Definition
}

export interface HandedIn {
  readonly definition: Buffer
  readonly buildArgs: Readonly<Record<string, string>>
  readonly contextDigest: Digest | undefined
  readonly arch: string
}

const maxDefinition = 1 << 20
const maxShown = 10

/** Throws `invalid` with everything that is wrong, line by line. */
export async function acceptDefinition(
  account: AccountActor,
  { definition, buildArgs, contextDigest, arch }: HandedIn,
  parts: { readonly settings: BuilderSettings; readonly sources: BuildSources },
): Promise<AcceptedDefinition> {
  const text = textOf(definition)
  if (text.trim() === '') throw invalid('build', 'The definition file is empty.')
  const { settings, sources } = parts
  const parsed = parseDefinition(definition, buildArgs)
  const problems = checkDefinition(parsed, {
    agents: settings.agents,
    hasContext: contextDigest !== undefined,
    allowsHost: (named) => sources.allowsHost(named),
  })
  if (problems.length > 0) throw refused(problems)
  const missing = await sources.missing(account, parsed, arch)
  if (missing.length > 0) throw refused(missing)
  return { text, parsed }
}

/** What is wrong with the context of a definition is said with the first line that needs it. */
export async function lineOfContext<T>(
  { parsed }: AcceptedDefinition,
  claim: Promise<T>,
): Promise<T> {
  try {
    return await claim
  } catch (error) {
    const [first] = contextNamesOf(parsed, '/')
    if (first === undefined || !(error instanceof Failure) || error.kind !== 'invalid') throw error
    throw invalid('context', `line ${first.line}: ${error.message}`, error)
  }
}

/**
 * A definition as scs-build asks for it before every build. Throws `invalid` for what cannot be read as
 * one; whether it may be built is said at the submission.
 */
export function readDefinition(actor: Actor, definition: Buffer): Definition {
  requireBuilder(actor)
  const parsed = parseDefinition(Buffer.from(textOf(definition)), {})
  const [fault] = parsed.faults
  if (fault === undefined) return parsed
  throw invalid('build', `line ${fault.line}: ${fault.message}`)
}

function textOf(definition: Buffer): string {
  if (definition.length > maxDefinition) {
    throw new Failure('too-large', 'build', 'A definition file has 1 MiB at most.')
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(definition)
    if (!text.includes('\0')) return text
  } catch {
    // Said below.
  }
  throw invalid('build', 'The definition file is not a text in UTF-8.')
}

function refused(problems: readonly Problem[]): Failure {
  const shown = problems
    .slice(0, maxShown)
    .map(({ line, message }) => (line > 0 ? `line ${line}: ${message}` : message))
  const more = problems.length - shown.length
  if (more > 0) shown.push(`and ${more} more`)
  return invalid('build', `The definition file cannot be built here: ${shown.join('; ')}`)
}
