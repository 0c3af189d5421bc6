/** The images of the endpoint itself that stages begin from, as references without scheme and host. */
import { hostsOf, originOfAgent, referenceOf } from './agents.ts'
import type { Definition, Stage } from './definition.ts'

export interface OwnImage {
  /** Whose dialect the reference is in. */
  readonly service: 'library' | 'registry'
  /** `entity/collection/container:tag`, or of a registry also `…@sha256:…`; parts may be left out. */
  readonly reference: string
  /** Of the header that names it. */
  readonly line: number
}

/** Host and port by which builds name this endpoint, in lower case. */
export interface OwnHosts {
  readonly library: string
  readonly registry: string
}

export function ownImagesOf(definition: Definition, own: OwnHosts): readonly OwnImage[] {
  return definition.stages.flatMap((stage) => ownImageOf(stage, own))
}

function ownImageOf(stage: Stage, own: OwnHosts): readonly OwnImage[] {
  const from = stage.headers.get('from')
  const origin = originOfAgent(stage.headers.get('bootstrap')?.value ?? '')
  if (from === undefined || (origin !== 'library' && origin !== 'registry')) return []
  const hosts = hostsOf(stage).filter(({ service }) => service === origin)
  // A library without a host is the one that the build is for.
  const isOwn = hosts.every(({ host }) => host === own[origin])
  if (!isOwn || (origin === 'registry' && hosts.length === 0)) return []
  return [{ service: origin, reference: referenceOf(stage, origin), line: from.line }]
}
