import type { Appliance } from '../../../server/appliance.ts'
import type { ImageRow } from '../../../server/content/images.ts'
import { parseArch, parseDigest, parseImageReference } from '../../../server/content/names.ts'
import type { ImageReference } from '../../../server/content/names.ts'
import { hostOperator } from '../../operator.ts'

export const referenceWord = {
  summary: 'SPACE/COLLECTION/CONTAINER:TAG, …:sha256.HASH or …@sha256:HASH',
} as const

export const archOption = {
  type: 'string',
  value: 'ARCH',
  summary: 'of a tag that several architectures have: amd64, arm64, …',
} as const

/** What somebody typed, with or without library:// before it. */
function parseReference({ config }: Appliance, text: string): ImageReference {
  const { defaultEntity: entity, defaultCollection: collection } = config.library
  const [path = '', digest] = text.replace(/^library:\/\/\/?/, '').split('@')
  const reference = parseImageReference(path, { entity, collection })
  if (digest === undefined) return reference
  return { kind: 'digest', repository: reference.repository, digest: parseDigest(digest) }
}

export async function imageNamed(
  appliance: Appliance,
  text: string,
  arch: string | undefined,
): Promise<ImageRow> {
  const reference = parseReference(appliance, text)
  const wanted = arch === undefined ? undefined : parseArch(arch)
  return await appliance.registry.resolve(hostOperator, reference, wanted)
}
