/** images.tsv for people, and the newest backup as an OCI image layout for programs. */
import type { StoredImage } from '../content/inventory.ts'
import { algorithmOf, hexOf } from '../content/names.ts'

const header = 'image\tarch\tkind\tdigest\tbytes\towner\taccess\tfile\n'

/** Where a tag shows several architectures, it has a line for each and one for the index. */
export function printImages(images: readonly StoredImage[]): string {
  const lines = images.map((image) => {
    const digest = image.sifDigest ?? image.manifestDigest
    const cells = [
      referenceOf(image),
      image.arch,
      image.sifDigest === null ? kindOf(image.mediaType) : 'sif',
      digest,
      String(image.size),
      image.owner ?? '',
      image.private ? 'private' : 'public',
      `blobs/${algorithmOf(digest)}/${hexOf(digest)}`,
    ]
    return `${cells.join('\t')}\n`
  })
  return header + lines.join('')
}

export const layoutDocument = '{"imageLayoutVersion":"1.0.0"}\n'

/** Tags only, each once: of several architectures the index, which is the tag's face. */
export function printLayoutIndex(images: readonly StoredImage[]): string {
  const tagged = new Map<string, StoredImage>()
  for (const image of images) {
    if (image.tag === null) continue
    const reference = `${image.path}:${image.tag}`
    const known = tagged.get(reference)
    if (known === undefined || image.sifDigest === null) tagged.set(reference, image)
  }
  const manifests = [...tagged].map(([reference, image]) => ({
    mediaType: image.mediaType,
    digest: image.manifestDigest,
    size: image.manifestBytes,
    annotations: { 'org.opencontainers.image.ref.name': reference },
  }))
  return `${JSON.stringify({ schemaVersion: 2, manifests }, null, 1)}\n`
}

function referenceOf({ path, tag, manifestDigest }: StoredImage): string {
  return tag === null ? `${path}@${manifestDigest}` : `${path}:${tag}`
}

function kindOf(mediaType: string): string {
  return /index|manifest\.list/.test(mediaType) ? 'index' : 'oci'
}
