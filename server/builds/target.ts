/** Where the image of a build goes. */
import { parseImageReference } from '../content/names.ts'
import type { NameDefaults, RepositoryPath, Tag } from '../content/names.ts'
import { invalid } from '../failure.ts'

export interface Target {
  readonly entity: string
  readonly path: RepositoryPath
  readonly tag: Tag
}

const scheme = /^library:(?:\/\/)?/

/**
 * `library://entity/collection/container:tag`, with the spellings that clients have: scs-build sends
 * it without slashes. A reference that names a host (four parts) has to name this library.
 */
export function parseTarget(
  text: string,
  defaults: NameDefaults,
  ownHosts: readonly string[],
): Target {
  let rest = text.replace(scheme, '').replace(/^\/+/, '')
  const [first = '', ...parts] = rest.split('/')
  if (parts.length === 3) {
    if (!ownHosts.includes(first)) {
      throw invalid('build', `Images are stored in this site's library only, not in ${first}.`)
    }
    rest = parts.join('/')
  }
  const reference = parseImageReference(rest, defaults)
  if (reference.kind !== 'tag') {
    throw invalid('build', 'The image of a build needs a tag: its hash is not known yet.')
  }
  const { entity, path, container } = reference.repository
  if (container.includes('/')) {
    throw invalid(
      'repository',
      `"${path}" is not a container path: expected entity/collection/container.`,
    )
  }
  return { entity, path, tag: reference.tag }
}

/**
 * Nobody named a target: a container of its own in the space of whoever builds, so that its size
 * counts there as that of any image, and its name cannot be guessed.
 */
export function ephemeralTarget(account: string, id: string, defaults: NameDefaults): Target {
  return parseTarget(`${account}/remote-builds/rb-${id}:latest`, defaults, [])
}

/** As clients take it: at most two slashes after the scheme (protocol.md 8.2). */
export function referenceOf(target: {
  readonly targetPath: string
  readonly targetTag: string
}): string {
  return `library://${target.targetPath}:${target.targetTag}`
}
