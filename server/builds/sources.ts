/** Where a build may begin from: which hosts it reaches, and images of the endpoint itself. */
import type { AccountActor } from '../accounts/actor.ts'
import type { Artifacts } from '../content/artifacts.ts'
import {
  parseArch,
  parseDigest,
  parseImageReference,
  parseOciRepository,
  parseTag,
} from '../content/names.ts'
import type { NameDefaults } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { Failure } from '../failure.ts'
import { isListed, parseDestination } from '../host-list.ts'
import type { NamedHost } from './definition/agents.ts'
import type { Definition, Problem } from './definition/definition.ts'
import { ownImagesOf } from './definition/own-images.ts'
import type { OwnHosts, OwnImage } from './definition/own-images.ts'
import { shown } from './definition/problems.ts'

export interface SourcesParts {
  readonly registry: Registry
  readonly artifacts: Artifacts
  readonly defaults: NameDefaults
  /** As in the configuration: "deb.example.org", "*.example.org". */
  readonly allowedHosts: readonly string[]
  readonly own: OwnHosts
}

export class BuildSources {
  readonly #parts: SourcesParts

  constructor(parts: SourcesParts) {
    this.#parts = parts
  }

  /** What the runner's proxy will say of it, as far as a name tells; the endpoint itself is its door. */
  allowsHost({ service, host, defaultPort }: NamedHost): boolean {
    const { own, allowedHosts } = this.#parts
    if (service !== 'files' && host === own[service]) return true
    const destination = parseDestination(host, defaultPort)
    return destination !== undefined && isListed(destination, allowedHosts)
  }

  /** Images that a build of this account would not get, each with the line that names it. */
  async missing(account: AccountActor, definition: Definition, arch: string): Promise<Problem[]> {
    const problems: Problem[] = []
    for (const image of ownImagesOf(definition, this.#parts.own)) {
      try {
        await this.#find(account, image, arch)
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        problems.push({ line: image.line, message: wordsFor(error, image, arch) })
      }
    }
    return problems
  }

  async #find(account: AccountActor, image: OwnImage, arch: string): Promise<void> {
    const { registry, artifacts, defaults } = this.#parts
    if (image.service === 'library') {
      const reference = parseImageReference(image.reference, defaults)
      await registry.resolve(account, reference, parseArch(arch))
      return
    }
    const [path = '', digest] = image.reference.split('@', 2)
    const colon = path.lastIndexOf(':')
    const name = parseOciRepository(colon < 0 ? path : path.slice(0, colon), defaults)
    const reference =
      digest === undefined
        ? ({ kind: 'tag', tag: parseTag(colon < 0 ? 'latest' : path.slice(colon + 1)) } as const)
        : ({ kind: 'digest', digest: parseDigest(digest) } as const)
    await artifacts.getManifest(account, name, reference)
  }
}

/** Where it is not there and where it may not be read, the same is said. */
function wordsFor(failure: Failure, { reference, service }: OwnImage, arch: string): string {
  if (failure.kind !== 'not-found') return failure.message
  const what = service === 'library' ? `"${shown(reference)}" for ${arch}` : `"${shown(reference)}"`
  return `There is no image ${what} in this ${service} that you may pull: push it first, or correct the name.`
}
