/** Whether a site builds a definition: everything that is wrong with it, in plain words. */
import {
  dockerHub,
  headerProblems,
  hostsOf,
  knownAgents,
  originOfAgent,
  requiredHeaders,
} from './agents.ts'
import type { NamedHost } from './agents.ts'
import type { Definition, Problem, Section, Stage } from './definition.ts'
import { copiesIn, originOf } from './files.ts'
import { Problems, shown } from './problems.ts'

export interface BuildRules {
  /** Bootstrap agents that the site allows, such as `usualAgents`. */
  readonly agents: readonly string[]
  /** Files came with the build: without them there are none that it could copy or begin from. */
  readonly hasContext: boolean
  /** Whether builds may reach a host that a header names; without it every host passes here. */
  readonly allowsHost?: ((named: NamedHost) => boolean) | undefined
}

/** At most 20, in the order of the lines; none means that the programs will read it as checked here. */
export function checkDefinition(definition: Definition, rules: BuildRules): readonly Problem[] {
  const problems = new Problems()
  problems.addAll(definition.faults)
  const names = definition.stages.map((stage) => stage.headers.get('stage')?.value)
  for (const [index, stage] of definition.stages.entries()) {
    problems.addAll(agentProblems(stage, rules))
    for (const section of stage.sections) {
      problems.addAll(sectionProblems(section, names.slice(0, index), rules))
    }
  }
  return problems.list()
}

function agentProblems(stage: Stage, rules: BuildRules): readonly Problem[] {
  const bootstrap = stage.headers.get('bootstrap')
  if (bootstrap === undefined) {
    const message =
      'There is no "Bootstrap:" above this: a definition begins with "Bootstrap: docker" or another agent.'
    return [{ line: stage.line, message }]
  }
  const { value: agent, line } = bootstrap
  const origin = originOfAgent(agent)
  if (origin === undefined) {
    const small = knownAgents.find((known) => known === agent.toLowerCase())
    const hint = small === undefined ? `use one of ${rules.agents.join(', ')}` : `write "${small}"`
    return [{ line, message: `There is no bootstrap agent "${shown(agent)}": ${hint}.` }]
  }
  if (origin === 'daemon') {
    const message = `"${agent}" needs a program of the machine that builds: push the image to a registry and use "docker".`
    return [{ line, message }]
  }
  if (!rules.agents.includes(agent)) {
    const message = `Builds here cannot begin with "${agent}": use one of ${rules.agents.join(', ')}.`
    return [{ line, message }]
  }
  const problems: Problem[] = requiredHeaders(agent)
    .filter((name) => (stage.headers.get(name.toLowerCase())?.value ?? '') === '')
    .map((name) => ({ line, message: `"Bootstrap: ${agent}" needs a header "${name}:".` }))
  if (origin === 'file' && !rules.hasContext) {
    const message = `"${agent}" takes an image that is sent along with the build, and none was.`
    problems.push({ line: stage.headers.get('from')?.line ?? line, message })
  }
  return [...problems, ...headerProblems(stage, agent), ...hostProblems(stage, rules)]
}

function hostProblems(stage: Stage, { allowsHost }: BuildRules): readonly Problem[] {
  if (allowsHost === undefined) return []
  return hostsOf(stage)
    .filter((named) => !allowsHost(named))
    .map(({ host, service, line }) => {
      const what = host === dockerHub.host ? `${host}, where Docker Hub's images are` : shown(host)
      const instead =
        service === 'files'
          ? 'name a mirror that they reach'
          : 'push the image to this endpoint and begin from there'
      const message = `Builds here cannot reach ${what}: ${instead}, or ask the administrators of the endpoint to allow it.`
      return { line, message }
    })
}

function sectionProblems(
  section: Section,
  earlier: readonly (string | undefined)[],
  rules: BuildRules,
): readonly Problem[] {
  if (section.name.startsWith('app')) {
    const [app = ''] = section.argument.split(' ', 1)
    // It becomes part of a path on the machine that builds.
    if (app !== '' && !/^[A-Za-z0-9_][A-Za-z0-9._+-]*$/.test(app)) {
      const message = `"${shown(app)}" cannot be the name of an app: use letters, digits and . _ + -.`
      return [{ line: section.line, message }]
    }
  }
  if (section.name !== 'files' && section.name !== 'appfiles') return []
  const origin = originOf(section)
  if (origin.kind === 'nowhere') {
    const message = `The programs copy nothing for "%files ${shown(section.argument)}": write "%files", or "%files from STAGE".`
    return [{ line: section.line, message }]
  }
  if (origin.kind === 'stage') {
    if (earlier.includes(origin.stage)) return []
    const message = `There is no stage "${shown(origin.stage)}" before this one: name it with "Stage: ${shown(origin.stage)}" in its header.`
    return [{ line: section.line, message }]
  }
  return copiesIn(section).flatMap(({ source, line }) => copyProblem(source, line, rules))
}

function copyProblem(source: string, line: number, rules: BuildRules): readonly Problem[] {
  if (source === '') {
    return [{ line, message: 'There is no file named here: write its path, and where it goes.' }]
  }
  // The programs let a shell expand it.
  if (/["'$`;&|<>()\\\n]/.test(source)) {
    const message = `"${shown(source)}": write the path out, without variables, quotation marks and signs of the shell.`
    return [{ line, message }]
  }
  if (source.startsWith('-')) {
    return [
      { line, message: `"${shown(source)}" looks like an option: write "./${shown(source)}".` },
    ]
  }
  if (rules.hasContext) return []
  const message = `"${shown(source)}" was not sent along with the build: files of the machine that builds are not copied.`
  return [{ line, message }]
}
