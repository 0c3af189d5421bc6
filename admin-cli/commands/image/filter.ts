/** Which images: the options that listing and deleting share. */
import type { HoldingsFilter, StoredImage } from '../../../server/content/holdings.ts'
import { countOf, timeOf } from '../../list-options.ts'
import { sizeOf } from '../../size-option.ts'
import { sizeInWords } from '../../size-words.ts'
import { table } from '../../table.ts'

export const ownerOptions = {
  owner: {
    type: 'string',
    value: 'NAME',
    summary: 'in the spaces of this account or group',
    complete: 'account',
  },
  space: { type: 'string', value: 'SPACE', summary: 'in this space', complete: 'space' },
} as const

export const filterOptions = {
  ...ownerOptions,
  repository: { type: 'string', value: 'PATH', summary: 'in this container' },
  older: {
    type: 'string',
    value: 'TIME',
    summary: 'that came before this time: 2026-11-21, or 90d',
  },
  larger: { type: 'string', value: 'SIZE', summary: 'of at least this size: 10GiB' },
  'never-pulled': { type: 'boolean', summary: 'that nobody has pulled' },
  unsigned: { type: 'boolean', summary: 'without a signature that may be good' },
} as const

type Values = {
  readonly [
    Name in keyof typeof filterOptions
  ]: (typeof filterOptions)[Name]['type'] extends 'boolean' ? boolean : string | undefined
}

export function filterOf(values: Values): HoldingsFilter {
  return {
    owner: values.owner,
    space: values.space,
    repository: values.repository,
    before: values.older === undefined ? undefined : timeOf(values.older),
    largerThan: values.larger === undefined ? undefined : sizeOf(values.larger),
    neverPulled: values['never-pulled'],
    unsigned: values.unsigned,
  }
}

/** Whether anything narrows it down. */
export function isNarrow(values: Values): boolean {
  return Object.values(values).some((value) => value !== undefined && value !== false)
}

export function limitOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : countOf(text)
}

export function imageTable(images: readonly StoredImage[]): string {
  const rows = images.map((image) => [
    image.path,
    image.tags.join(',') || '-',
    image.arch || '-',
    sizeInWords(image.sizeBytes),
    image.uploadedAt.toISOString().slice(0, 10),
    image.pulledAt?.toISOString().slice(0, 10) ?? 'never',
    image.signatureState,
    image.digest.slice(0, 19),
  ])
  const head = ['Container', 'Tags', 'Arch', 'Size', 'Came', 'Pulled', 'Signatures', 'Hash']
  return table([head, ...rows])
}

/** "3 images of 1.50 GiB". */
export function sumOf(images: readonly { readonly sizeBytes: number }[]): string {
  const bytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const count = images.length === 1 ? '1 image' : `${images.length} images`
  return `${count} of ${sizeInWords(bytes)}`
}
