/** The server under test, started as its users start it and spoken to as the stock clients do. */
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { packageRoot } from '../../server/package-root.ts'
import { call, dataOf } from './call.ts'
import type { Contender, Target } from './contender.ts'
import { OciClient } from './oci-client.ts'
import type { Payload } from './payload.ts'
import { putPayload } from './put-payload.ts'
import { seedKeys } from './seed-keys.ts'
import type { SeededKey } from './seed-keys.ts'
import { sendSlice } from './send-slice.ts'
import { freePort, startServer } from './server-process.ts'
import type { ServerProcess } from './server-process.ts'

const container = 'admin/bench/c1'
const passwordDeadlineMs = 30_000

export interface OwnServer {
  readonly origin: string
  /** Of the administrator that the first start has made. */
  readonly token: string
  readonly dataDirectory: string
  readonly server: ServerProcess
}

/** A server on new data below this directory; `settings` are further lines of its berth.toml. */
export async function startOwnServer(directory: string, settings = ''): Promise<OwnServer> {
  const program = join(packageRoot, 'dist/server/main.js')
  if (!existsSync(program)) throw new Error(`${program} does not exist: npm run build`)
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const dataDirectory = join(directory, 'data')
  const logFile = join(directory, 'berth.log')
  const configFile = join(directory, 'berth.toml')
  await writeFile(configFile, settings)
  const server = await startServer(process.execPath, ['--enable-source-maps', program], {
    env: {
      HOME: process.env['HOME'],
      BERTH_DATA_DIR: dataDirectory,
      BERTH_LISTEN: `127.0.0.1:${port}`,
      BERTH_PUBLIC_URL: origin,
      BERTH_CONFIG: configFile,
    },
    logFile,
    readyUrl: `${origin}/readyz`,
  })
  try {
    const token = await obtainToken(origin, await passwordIn(logFile))
    return { origin, token, dataDirectory, server }
  } catch (error) {
    await server.stop()
    throw error
  }
}

export async function startBerth(directory: string): Promise<Contender> {
  const { origin, token, dataDirectory, server } = await startOwnServer(directory)
  try {
    const library = new Library(origin, token, dataDirectory)
    await library.makeContainer()
    let seeded: Promise<SeededKey> | undefined
    const oci = new OciClient(origin, container, await registryHeaders(origin, token))
    return {
      ...server,
      name: 'berth',
      version: await versionOf(),
      uploadForms: ['whole', 'pieces'],
      prepareUpload: async (payload, form) => {
        const image = await library.announce(payload)
        return {
          send: async () =>
            await (form === 'whole'
              ? library.sendWhole(image, payload)
              : library.sendParts(image, payload)),
          remove: async () => await library.remove(image, payload),
        }
      },
      downloadTarget: async (payload) => await library.downloadTarget(payload),
      metadataTarget: async (payload) => await library.metadataTarget(payload),
      keySearches: async () => {
        seeded ??= seedKeys(dataDirectory)
        const { familyName, email, fingerprint } = await seeded
        return {
          words: search(origin, familyName),
          mail: search(origin, email),
          fingerprint: search(origin, `0x${fingerprint}`),
        }
      },
      oci: {
        client: oci,
        remove: async (payload) => {
          await oci.deleteBlob(payload)
          await library.removeFile(payload)
        },
      },
    }
  } catch (error) {
    await server.stop()
    throw error
  }
}

class Library {
  readonly #origin: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #dataDirectory: string

  constructor(origin: string, token: string, dataDirectory: string) {
    this.#origin = origin
    this.#headers = { Authorization: `Bearer ${token}` }
    this.#dataDirectory = dataDirectory
  }

  async makeContainer(): Promise<void> {
    const [entity, collection, name] = container.split('/')
    await this.#call('POST', 'v1/entities', { name: entity })
    await this.#call('POST', 'v1/collections', { name: collection, entity })
    await this.#call('POST', 'v1/containers', { name, collection: `${entity}/${collection}` })
  }

  /** Returns the image's ID. */
  async announce({ sha256 }: Payload): Promise<string> {
    const hash = `sha256.${sha256}`
    const answer = await this.#call('POST', 'v1/images', { hash, container, description: '' })
    const { id, uploaded } = answer as { id: string; uploaded: boolean }
    if (uploaded) throw new Error(`${id} is there already`)
    return id
  }

  async sendWhole(image: string, payload: Payload): Promise<void> {
    const { sizeBytes: filesize, sha256: sha256sum, md5: md5sum } = payload
    const start = { filesize, md5sum, sha256sum }
    const answer = await this.#call('POST', `v2/imagefile/${image}`, start)
    const { uploadURL: url } = answer as { uploadURL: string }
    await putPayload({ url, headers: {} }, payload)
    await this.#call('PUT', `v2/imagefile/${image}/_complete`, {})
  }

  async sendParts(image: string, payload: Payload): Promise<void> {
    const path = `v2/imagefile/${image}/_multipart`
    const started = await this.#call('POST', path, { filesize: payload.sizeBytes })
    const { uploadID, totalParts, partSize } = started as {
      uploadID: string
      totalParts: number
      partSize: number
    }
    const completedParts = []
    for (let partNumber = 1; partNumber <= totalParts; partNumber += 1) {
      const offset = (partNumber - 1) * partSize
      const length = Math.min(partSize, payload.sizeBytes - offset)
      const part = { partSize: length, uploadID, partNumber, sha256sum: '' }
      const { presignedURL: url } = (await this.#call('PUT', path, part)) as {
        presignedURL: string
      }
      const { etag } = await sendSlice('PUT', { url, headers: {} }, { payload, offset, length })
      completedParts.push({ partNumber, token: etag })
    }
    await this.#call('PUT', `${path}_complete`, { uploadID, completedParts })
  }

  /** The server keeps deleted bytes for hours; the disk of a benchmark cannot wait for that. */
  async remove(image: string, payload: Payload): Promise<void> {
    await this.#call('DELETE', `v1/images/${image}?arch=amd64`)
    await this.removeFile(payload)
  }

  async removeFile({ sha256 }: Payload): Promise<void> {
    await rm(join(this.#dataDirectory, 'store/blobs/sha256', sha256.slice(0, 2), sha256))
  }

  /** The image itself, or where the redirect leads that larger ones are answered with. */
  async downloadTarget({ sha256 }: Payload): Promise<Target> {
    const url = `${this.#origin}/v1/imagefile/${container}:sha256.${sha256}?arch=amd64`
    const { headers } = await call('GET', url, { headers: this.#headers, accept: [200, 303] })
    return { url: headers.get('location') ?? url, headers: this.#headers }
  }

  async metadataTarget({ sha256 }: Payload): Promise<Target> {
    const image = `${container}:sha256.${sha256}`
    const tag = { Arch: 'amd64', Tag: 'latest', ImageID: image }
    await this.#call('POST', `v2/tags/${container}`, tag)
    const url = `${this.#origin}/v1/images/${container}:latest?arch=amd64`
    return { url, headers: this.#headers }
  }

  async #call(method: string, path: string, json?: unknown): Promise<unknown> {
    const answer = await call(method, `${this.#origin}/${path}`, { headers: this.#headers, json })
    return dataOf(answer)
  }
}

async function obtainToken(origin: string, password: string): Promise<string> {
  const credentials = Buffer.from(`admin:${password}`).toString('base64')
  const answer = await call('POST', `${origin}/api/v1/tokens`, {
    headers: { Authorization: `Basic ${credentials}` },
    json: { label: 'bench' },
    accept: [200, 201],
  })
  return (dataOf(answer) as { token: string }).token
}

/** As `singularity key search` asks. */
function search(origin: string, text: string): Target {
  const query = new URLSearchParams({ op: 'index', options: 'mr', search: text, fingerprint: 'on' })
  return { url: `${origin}/pks/lookup?${query.toString()}`, headers: {} }
}

/** It is printed once, when the account is made on the very first start. */
async function passwordIn(logFile: string): Promise<string> {
  const deadline = Date.now() + passwordDeadlineMs
  do {
    const match = /^\s*password:\s+(\S+)/m.exec(await readFile(logFile, 'utf8'))
    if (match?.[1] !== undefined) return match[1]
    await delay(100)
  } while (Date.now() < deadline)
  throw new Error('the server printed no password of the admin account')
}

async function versionOf(): Promise<string> {
  const text = await readFile(join(packageRoot, 'package.json'), 'utf8')
  return `berth/${(JSON.parse(text) as { version: string }).version}`
}

/** The token that a registry client gets for its access token, good for an hour. */
async function registryHeaders(
  origin: string,
  accessToken: string,
): Promise<Readonly<Record<string, string>>> {
  const basic = Buffer.from(`admin:${accessToken}`).toString('base64')
  const scope = `repository:${container}:pull,push,delete`
  const url = `${origin}/registry/token?scope=${encodeURIComponent(scope)}`
  const { text } = await call('GET', url, { headers: { Authorization: `Basic ${basic}` } })
  const { token } = JSON.parse(text) as { token: string }
  return { Authorization: `Bearer ${token}` }
}
