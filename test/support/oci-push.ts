/** What clients of the OCI registry do: blobs and manifests, pushed by an access token as Bearer. */
import assert from 'node:assert/strict'

import { sha256 } from './client.ts'
import type { Client, Reply } from './client.ts'

export interface Manifest {
  readonly bytes: Buffer
  readonly mediaType: string
  readonly digest: string
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'
const sifConfigType = 'application/vnd.sylabs.sif.config.v1+json'
const sifLayerType = 'application/vnd.sylabs.sif.layer.v1.sif'
/** What `apptainer push oras://` and oras send as a configuration. */
export const emptyConfig = Buffer.from('{}')

export function digestOf(bytes: Buffer): string {
  return `sha256:${sha256(bytes)}`
}

/** A manifest with one SIF layer, as `apptainer push oras://` makes it. */
export function sifManifest(sif: Buffer, annotations?: Readonly<Record<string, string>>): Manifest {
  return encode(manifestType, {
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptor(sifConfigType, emptyConfig),
    layers: [descriptor(sifLayerType, sif)],
    annotations,
  })
}

/** An image of docker or podman. */
export function imageManifest(config: Buffer, layers: readonly Buffer[]): Manifest {
  const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip'
  return encode(manifestType, {
    schemaVersion: 2,
    mediaType: manifestType,
    config: descriptor('application/vnd.oci.image.config.v1+json', config),
    layers: layers.map((layer) => descriptor(layerType, layer)),
  })
}

export function indexManifest(
  entries: readonly { readonly manifest: Manifest; readonly arch: string }[],
): Manifest {
  return encode(indexType, {
    schemaVersion: 2,
    mediaType: indexType,
    manifests: entries.map(({ manifest, arch }) => ({
      mediaType: manifest.mediaType,
      digest: manifest.digest,
      size: manifest.bytes.length,
      platform: { architecture: arch, os: 'linux' },
    })),
  })
}

/** POST and PUT with all bytes in the second; the reply is the one that refused, or the last. */
export async function pushBlob(client: Client, name: string, bytes: Buffer): Promise<Reply> {
  const opened = await client.send('POST', `/v2/${name}/blobs/uploads/`)
  if (opened.status !== 202) return opened
  const path = sessionPath(opened)
  return await client.send('PUT', `${path}?digest=${digestOf(bytes)}`, { body: bytes })
}

/** HEAD first, as clients do: what is there is not sent. */
export async function ensureBlob(client: Client, name: string, bytes: Buffer): Promise<Reply> {
  const found = await client.send('HEAD', `/v2/${name}/blobs/${digestOf(bytes)}`)
  return found.status === 404 ? await pushBlob(client, name, bytes) : found
}

export async function putManifest(
  client: Client,
  name: string,
  reference: string,
  manifest: Manifest,
): Promise<Reply> {
  const headers = { 'content-type': manifest.mediaType }
  const path = `/v2/${name}/manifests/${reference}`
  return await client.send('PUT', path, { headers, body: manifest.bytes })
}

/** A whole push, which has to succeed. */
export async function pushManifest(
  client: Client,
  name: string,
  reference: string,
  manifest: Manifest,
  blobs: readonly Buffer[],
): Promise<void> {
  for (const blob of blobs) {
    const sent = await pushBlob(client, name, blob)
    assert.equal(sent.status, 201, sent.body.toString())
  }
  const put = await putManifest(client, name, reference, manifest)
  assert.equal(put.status, 201, put.body.toString())
}

/** The path of a session, of the reply that opened it. */
export function sessionPath(opened: Reply): string {
  return new URL(String(opened.headers['location'])).pathname
}

function encode(mediaType: string, document: object): Manifest {
  const bytes = Buffer.from(JSON.stringify(document))
  return { bytes, mediaType, digest: digestOf(bytes) }
}

function descriptor(mediaType: string, bytes: Buffer): object {
  return { mediaType, digest: digestOf(bytes), size: bytes.length }
}
