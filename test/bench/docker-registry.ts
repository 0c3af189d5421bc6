/** Debian's docker-registry with its file system driver, set up as the package does, without login. */
import { createHash } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { call } from './call.ts'
import { runChild } from './children.ts'
import { MissingContender } from './contender.ts'
import type { Contender, Target } from './contender.ts'
import { OciClient } from './oci-client.ts'
import type { Payload } from './payload.ts'
import { putPayload } from './put-payload.ts'
import { sendSlice } from './send-slice.ts'
import { freePort, startServer } from './server-process.ts'
import { MIB } from './units.ts'

const repository = 'berth/bench'
/** What the clients of a library send at once to a registry. */
const chunkBytes = 5 * MIB
const manifestType = 'application/vnd.oci.image.manifest.v1+json'

export async function startDockerRegistry(directory: string): Promise<Contender> {
  const version = await inspect()
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const configFile = join(directory, 'registry.yml')
  await writeFile(configFile, configuration(directory, port))
  const server = await startServer('docker-registry', ['serve', configFile], {
    logFile: join(directory, 'registry.log'),
    readyUrl: `${origin}/v2/`,
  })
  const blobUrl = (sha256: string): string => `${origin}/v2/${repository}/blobs/sha256:${sha256}`

  async function openUpload(): Promise<string> {
    const url = `${origin}/v2/${repository}/blobs/uploads/`
    const { headers } = await call('POST', url, { accept: [202] })
    return new URL(headers.get('location') ?? '', origin).href
  }

  async function sendWhole(payload: Payload): Promise<void> {
    const url = withDigest(await openUpload(), payload.sha256)
    await putPayload({ url, headers: {} }, payload)
  }

  async function sendChunks(payload: Payload): Promise<void> {
    let url = await openUpload()
    for (let offset = 0; offset < payload.sizeBytes; offset += chunkBytes) {
      const length = Math.min(chunkBytes, payload.sizeBytes - offset)
      const headers = {
        'Content-Type': 'application/octet-stream',
        'Content-Range': `${offset}-${offset + length - 1}`,
      }
      const answer = await sendSlice('PATCH', { url, headers }, { payload, offset, length })
      url = new URL(answer.location ?? '', origin).href
    }
    await call('PUT', withDigest(url, payload.sha256), { accept: [201] })
  }

  async function metadataTarget(payload: Payload): Promise<Target> {
    const config = JSON.stringify({ architecture: 'amd64', os: 'linux' })
    const configDigest = createHash('sha256').update(config).digest('hex')
    const body = { headers: { 'content-type': 'application/octet-stream' }, body: config }
    await call('PUT', withDigest(await openUpload(), configDigest), { ...body, accept: [201] })
    const manifest = {
      schemaVersion: 2,
      mediaType: manifestType,
      config: {
        mediaType: 'application/vnd.sylabs.sif.config.v1+json',
        digest: `sha256:${configDigest}`,
        size: config.length,
      },
      layers: [
        {
          mediaType: 'application/vnd.sylabs.sif.layer.v1.sif',
          digest: `sha256:${payload.sha256}`,
          size: payload.sizeBytes,
        },
      ],
    }
    const url = `${origin}/v2/${repository}/manifests/latest`
    const headers = { 'content-type': manifestType }
    await call('PUT', url, { headers, json: manifest, accept: [201] })
    return { url, headers: { Accept: manifestType } }
  }

  return {
    ...server,
    name: 'registry',
    version,
    uploadForms: ['whole', 'pieces'],
    prepareUpload: (payload, form) =>
      Promise.resolve({
        send: async () => await (form === 'whole' ? sendWhole(payload) : sendChunks(payload)),
        remove: async () => await removeFiles(directory, payload.sha256),
      }),
    downloadTarget: (payload) => Promise.resolve({ url: blobUrl(payload.sha256), headers: {} }),
    metadataTarget,
    oci: {
      client: new OciClient(origin, repository, {}),
      remove: async (payload) => await removeFiles(directory, payload.sha256),
    },
  }
}

/** Its own way of freeing space is a garbage collection while it is stopped. */
async function removeFiles(directory: string, sha256: string): Promise<void> {
  const root = join(directory, 'docker/registry/v2')
  const blob = join(root, 'blobs/sha256', sha256.slice(0, 2), sha256)
  const link = join(root, 'repositories', repository, '_layers/sha256', sha256)
  for (const path of [link, blob]) await rm(path, { recursive: true })
}

async function inspect(): Promise<string> {
  const found = await runChild('docker-registry', ['--version'], { timeoutMs: 10_000 }).catch(
    () => {
      throw new MissingContender('not installed (Debian: docker-registry)')
    },
  )
  return `docker-registry/${found.stdout.trim().split(' ').at(-1)}`
}

function withDigest(url: string, sha256: string): string {
  const complete = new URL(url)
  complete.searchParams.set('digest', `sha256:${sha256}`)
  return complete.href
}

function configuration(directory: string, port: number): string {
  return `
version: 0.1
log:
  fields: { service: registry }
storage:
  cache: { blobdescriptor: inmemory }
  filesystem: { rootdirectory: ${JSON.stringify(directory)} }
  delete: { enabled: true }
http:
  addr: 127.0.0.1:${port}
  secret: only-for-this-run
  headers: { X-Content-Type-Options: [nosniff] }
health:
  storagedriver: { enabled: true, interval: 10s, threshold: 3 }
`
}
