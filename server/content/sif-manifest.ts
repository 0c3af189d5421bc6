/**
 * A SIF as an OCI artifact: one manifest, one layer, and a configuration that tells what the file
 * says about itself. Media types and the form of the configuration are those of
 * scs-library-client, client/oci.go. Equal bytes give equal manifests, whoever pushes them.
 */
import { createHash } from 'node:crypto'

import type { SifFacts } from '../sif/inspect.ts'
import { parseDigest } from './names.ts'
import type { Digest } from './names.ts'

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const configType = 'application/vnd.sylabs.sif.config.v1+json'
const layerType = 'application/vnd.sylabs.sif.layer.v1.sif'

export interface ComposedManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
  readonly configDigest: Digest
  readonly config: Buffer
}

export function composeSifManifest(
  digest: Digest,
  size: number,
  facts: SifFacts,
): ComposedManifest {
  const config = encode({
    ...(facts.arch === undefined ? {} : { architecture: facts.arch }),
    os: 'linux',
    rootfs: digest,
    signed: facts.signed,
    encrypted: facts.encrypted,
  })
  const configDigest = digestOf(config)
  const bytes = encode({
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: configType, digest: configDigest, size: config.length },
    layers: [{ mediaType: layerType, digest, size }],
  })
  return { digest: digestOf(bytes), mediaType: manifestType, bytes, configDigest, config }
}

function encode(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function digestOf(bytes: Buffer): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
}
