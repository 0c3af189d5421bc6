/**
 * Container images made in memory, and written down as clients read them from a disk: as an OCI
 * layout (image-spec 1.1, image-layout.md) or as the `dir:` transport of skopeo and buildah, which
 * alone keeps Docker's media types. Nothing is downloaded; the same options make the same bytes.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

export interface Stored {
  readonly mediaType: string
  /** Of the manifest or the index. */
  readonly digest: string
  readonly bytes: Buffer
  /** By digest: the blobs, and the manifests that an index names. */
  readonly content: ReadonlyMap<string, Buffer>
}

export interface OciImage extends Stored {
  readonly arch: string
  readonly configDigest: string
  readonly layerDigests: readonly string[]
}

interface ImageOptions {
  /** Go name; default amd64. */
  readonly arch?: string
  /** One layer each: names of files without a leading slash, and what is in them; all executable. */
  readonly layers?: readonly Readonly<Record<string, Buffer | string>>[]
  readonly command?: readonly string[]
  /** Docker's schema 2 instead of OCI. */
  readonly docker?: boolean
}

export const types = {
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const

export const dockerTypes = {
  manifest: 'application/vnd.docker.distribution.manifest.v2+json',
  index: 'application/vnd.docker.distribution.manifest.list.v2+json',
  config: 'application/vnd.docker.container.image.v1+json',
  layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
} as const

export function makeImage(options: ImageOptions = {}): OciImage {
  const { arch = 'amd64', layers = [{ 'etc/hello': `hello from ${arch}\n` }], command } = options
  const names = options.docker === true ? dockerTypes : types
  const content = new Map<string, Buffer>()
  const tars = layers.map(tar)
  const config = json({
    architecture: arch,
    os: 'linux',
    config: command === undefined ? {} : { Cmd: command },
    rootfs: { type: 'layers', diff_ids: tars.map((tar) => digestOf(tar)) },
  })
  const described = tars.map((tar) => describe(content, names.layer, gzipSync(tar)))
  const document = {
    schemaVersion: 2,
    mediaType: names.manifest,
    config: describe(content, names.config, config),
    layers: described,
  }
  const bytes = json(document)
  return {
    mediaType: names.manifest,
    digest: digestOf(bytes),
    bytes,
    content,
    arch,
    configDigest: document.config.digest,
    layerDigests: described.map(({ digest }) => digest),
  }
}

/** One tag for several architectures. */
export function makeIndex(images: readonly OciImage[]): Stored {
  const content = new Map(images.flatMap((image) => [...image.content]))
  const isDocker = images[0]?.mediaType === dockerTypes.manifest
  const mediaType = isDocker ? dockerTypes.index : types.index
  const manifests = images.map(({ mediaType, bytes, arch }) => ({
    ...describe(content, mediaType, bytes),
    platform: { architecture: arch, os: 'linux' },
  }))
  const bytes = json({ schemaVersion: 2, mediaType, manifests })
  return { mediaType, digest: digestOf(bytes), bytes, content }
}

/** An OCI layout with these references; the directory appears. */
export function writeLayout(directory: string, tagged: Readonly<Record<string, Stored>>): void {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true })
  for (const { digest, bytes, content } of Object.values(tagged)) {
    for (const [name, blob] of [...content, [digest, bytes] as const]) {
      writeFileSync(join(directory, 'blobs', name.replace(':', '/')), blob)
    }
  }
  const manifests = Object.entries(tagged).map(([name, { mediaType, digest, bytes }]) => ({
    mediaType,
    digest,
    size: bytes.length,
    annotations: { 'org.opencontainers.image.ref.name': name },
  }))
  writeFileSync(join(directory, 'index.json'), json({ schemaVersion: 2, manifests }))
  writeFileSync(join(directory, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }))
}

/** The digest that a reference of a layout points to, and a way to what is in it. */
export function readLayout(
  directory: string,
  reference: string,
): { readonly digest: string; blob(digest: string): Buffer } {
  const { manifests } = JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8'))
  const entry = manifests.find(
    (one: { annotations?: Record<string, string> }) =>
      one.annotations?.['org.opencontainers.image.ref.name'] === reference,
  )
  return {
    digest: entry?.digest ?? `nothing is called ${reference}`,
    blob: (digest) => readFileSync(join(directory, 'blobs', digest.replace(':', '/'))),
  }
}

/** As the `dir:` transport has it; with `instances` the images that a list names. */
export function writeDirectory(
  directory: string,
  stored: Stored,
  instances: readonly Stored[] = [],
): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'version'), 'Directory Transport Version: 1.1\n')
  writeFileSync(join(directory, 'manifest.json'), stored.bytes)
  for (const [digest, blob] of stored.content) {
    writeFileSync(join(directory, digest.replace('sha256:', '')), blob)
  }
  for (const { digest, bytes } of instances) {
    writeFileSync(join(directory, `${digest.replace('sha256:', '')}.manifest.json`), bytes)
  }
}

export function digestOf(bytes: Buffer, algorithm: 'sha256' | 'sha512' = 'sha256'): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

function describe(content: Map<string, Buffer>, mediaType: string, bytes: Buffer) {
  const digest = digestOf(bytes)
  content.set(digest, bytes)
  return { mediaType, digest, size: bytes.length }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

/** POSIX ustar; directories appear by themselves where the files are unpacked. */
function tar(files: Readonly<Record<string, Buffer | string>>): Buffer {
  const pieces = Object.entries(files).flatMap(([name, text]) => {
    const bytes = Buffer.from(text)
    const padding = Buffer.alloc(-bytes.length & 511)
    return [tarHeader(name, bytes.length), bytes, padding]
  })
  return Buffer.concat([...pieces, Buffer.alloc(1024)])
}

function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(512)
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0')
  header.write(name, 0, 100)
  header.write(octal(0o755, 7), 100)
  header.write(octal(0, 7), 108)
  header.write(octal(0, 7), 116)
  header.write(octal(size, 11), 124)
  header.write(octal(1_600_000_000, 11), 136)
  header.write('        0', 148)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${octal(sum, 6)}\0 `, 148)
  return header
}
