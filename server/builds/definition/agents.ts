/** The bootstrap agents: where each takes the base of an image from, and what its headers may say. */
import type { Header, Problem, Stage } from './definition.ts'
import { shown } from './problems.ts'

type Origin =
  | 'library'
  | 'registry'
  /** A file or directory of the machine that builds. */
  | 'file'
  | 'packages'
  | 'nothing'
  /** A program of the machine that builds, with its rights. */
  | 'daemon'

const origins: ReadonlyMap<string, Origin> = new Map([
  ['library', 'library'],
  ['docker', 'registry'],
  ['oras', 'registry'],
  ['shub', 'registry'],
  ['localimage', 'file'],
  ['docker-archive', 'file'],
  ['oci-archive', 'file'],
  ['oci', 'file'],
  ['docker-daemon', 'daemon'],
  ['dockerfile', 'daemon'],
  ['debootstrap', 'packages'],
  ['yum', 'packages'],
  ['dnf', 'packages'],
  ['zypper', 'packages'],
  ['arch', 'packages'],
  ['busybox', 'packages'],
  ['scratch', 'nothing'],
])

/** What a site allows when it says nothing. */
export const usualAgents: readonly string[] = [
  'library',
  'docker',
  'oras',
  'localimage',
  'debootstrap',
  'scratch',
]

export const knownAgents: readonly string[] = [...origins.keys()]

export function originOfAgent(agent: string): Origin | undefined {
  return origins.get(agent)
}

/** What an agent cannot do without. */
export function requiredHeaders(agent: string): readonly string[] {
  if (agent === 'debootstrap') return ['MirrorURL', 'OSVersion']
  if (agent === 'busybox' || agent === 'yum') return ['MirrorURL']
  const origin = origins.get(agent)
  return origin === 'library' || origin === 'registry' || origin === 'file' ? ['From'] : []
}

/** A host that a stage takes something from, and the line that names it. */
export interface NamedHost {
  /** Which kind of place it is by the words that name it; `files` is a mirror or the like. */
  readonly service: 'library' | 'registry' | 'files'
  /** With its port when one is written; lower case. */
  readonly host: string
  /** Where a connection goes to when no port is written. */
  readonly defaultPort: 80 | 443
  readonly line: number
}

/** Where the images are that name no host, and where clients take them from. */
export const dockerHub = { names: ['docker.io', 'index.docker.io'], host: 'registry-1.docker.io' }

/**
 * The hosts that the headers name, for comparison with what a site allows. A library reference without
 * a host is of the library that the build is for; an image of a registry without one is Docker Hub's.
 */
export function hostsOf(stage: Stage): readonly NamedHost[] {
  const hosts: NamedHost[] = []
  const agent = stage.headers.get('bootstrap')?.value ?? ''
  for (const [name, header] of stage.headers) {
    if (!isAddress(name)) continue
    const url = parseUrl(header.value)
    if (url === undefined) continue
    const service = name === 'library' ? 'library' : 'files'
    const defaultPort = url.protocol === 'http:' ? 80 : 443
    hosts.push({ service, host: url.host, defaultPort, line: header.line })
  }
  const from = stage.headers.get('from')
  if (from === undefined) return hosts
  if (agent === 'library') {
    const host = libraryHost(from.value)?.toLowerCase()
    if (host !== undefined) {
      hosts.push({ service: 'library', host, defaultPort: 443, line: from.line })
    }
  } else if (origins.get(agent) === 'registry') {
    const named = registryHost(registryReference(stage, from)) ?? dockerHub.host
    const host = dockerHub.names.includes(named) ? dockerHub.host : named
    hosts.push({ service: 'registry', host, defaultPort: 443, line: from.line })
  }
  return hosts
}

/** What stands in `From:` without scheme and host. */
export function referenceOf(stage: Stage, service: 'library' | 'registry'): string {
  const from = stage.headers.get('from')
  if (from === undefined) return ''
  if (service === 'registry') {
    const whole = registryReference(stage, from)
    return registryHost(whole) === undefined ? whole : whole.slice(whole.indexOf('/') + 1)
  }
  const path = from.value.replace(/^library:(?=[^/])|^(?:library:)?\/\//, '')
  return libraryHost(from.value) === undefined ? path : path.slice(path.indexOf('/') + 1)
}

/** What is wrong with the headers of a stage whose agent is known and allowed. */
export function headerProblems(stage: Stage, agent: string): readonly Problem[] {
  const problems: Problem[] = []
  const from = stage.headers.get('from')
  for (const [name, { value, line }] of stage.headers) {
    if (isAddress(name) && parseUrl(value) === undefined) {
      const message = `"${shown(value)}" is no address for "${name}": it begins with http:// or https://.`
      problems.push({ line, message })
    }
  }
  if (from !== undefined) problems.push(...fromProblems(stage, agent, from))
  const version = stage.headers.get('osversion')
  // It becomes an argument of a program, and debootstrap runs a script of that name.
  if (version !== undefined && !/^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(version.value)) {
    const message = `"${shown(version.value)}" is no version of a system: write its name, such as "bookworm".`
    problems.push({ line: version.line, message })
  }
  const include = stage.headers.get('include')
  if (include !== undefined && !/^[A-Za-z0-9][A-Za-z0-9.+:,_ -]*$/.test(include.value)) {
    problems.push({ line: include.line, message: '"Include" is a list of names of packages.' })
  }
  return problems
}

function fromProblems(stage: Stage, agent: string, from: Header): readonly Problem[] {
  const { line, value } = from
  const origin = origins.get(agent)
  if (origin === 'registry') {
    const whole = registryReference(stage, from)
    if (isReference(whole)) return []
    const message = `"${shown(whole)}" is no image of a registry: write "alpine:3.20" or "registry.example.org/path/name:tag".`
    return [{ line, message }]
  }
  if (origin === 'library') {
    if (isReference(value.replace(/^library:(?=[^/])|^(?:library:)?\/\//, ''))) return []
    const message = `"${shown(value)}" is no image of a library: write "collection/name:tag" or "library://entity/collection/name:tag".`
    return [{ line, message }]
  }
  if (origin === 'file') {
    // It goes on a command line, and `a:b` is a path and a tag to the agents of OCI.
    if (/^[^-:]/.test(value) && !/[:\n]/.test(value)) return []
    const message = `"${shown(value)}" is no file: write the path of an image that is sent along.`
    return [{ line, message }]
  }
  return []
}

/** The programs put the three together before they look at it. */
function registryReference(stage: Stage, from: Header): string {
  const parts = [
    stage.headers.get('registry')?.value,
    stage.headers.get('namespace')?.value,
    from.value,
  ]
  return parts.filter((part) => part !== undefined && part !== '').join('/')
}

/** Letters, digits and the signs of a reference; no scheme, no absolute or climbing path. */
function isReference(text: string): boolean {
  return (
    text.length <= 512 &&
    /^[A-Za-z0-9_[][A-Za-z0-9._:/@+[\]-]*$/.test(text) &&
    !/\/\/|:\/|\/$|:$|(?:^|\/)\.\.?(?:\/|$)/.test(text)
  )
}

/** A first part that cannot be one of a repository's name is a host. */
function registryHost(reference: string): string | undefined {
  const [first = '', ...rest] = reference.split('/')
  const isHost = rest.length > 0 && (/[.:[A-Z]/.test(first) || first === 'localhost')
  return isHost ? first.toLowerCase() : undefined
}

/** `library://host/entity/collection/name`: only with that many parts is the first one a host. */
function libraryHost(reference: string): string | undefined {
  if (!/^(?:library:)?\/\//.test(reference)) return undefined
  const [host, ...rest] = reference.replace(/^(?:library:)?\/\//, '').split('/')
  return rest.length >= 3 ? host : undefined
}

function isAddress(name: string): boolean {
  return /^(?:mirrorurl|updateurl|library|registerurl|confurl|otherurl\d+)$/.test(name)
}

/** `%{OSVERSION}` in an address is replaced by the programs, and is never in its host. */
function parseUrl(text: string): URL | undefined {
  const plain = text.replace(/%\{[A-Za-z]+\}/g, '0')
  if (!/^https?:\/\/[^\s\\]+$/.test(plain) || /^https?:\/\/[^/]*%\{/.test(text)) return undefined
  return URL.canParse(plain) ? new URL(plain) : undefined
}
