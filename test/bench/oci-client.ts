/**
 * Pushes and pulls as docker and skopeo do them: a session, one PATCH of unknown length with all
 * bytes, and the digest in a PUT without any.
 */
import { call } from './call.ts'
import type { Target } from './contender.ts'
import { curlSend } from './curl.ts'
import type { Payload } from './payload.ts'

export class OciClient {
  readonly #origin: string
  readonly #repository: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(origin: string, repository: string, headers: Readonly<Record<string, string>>) {
    this.#origin = origin
    this.#repository = repository
    this.#headers = headers
  }

  async push(payload: Payload): Promise<void> {
    const opened = await call('POST', this.#url('blobs/uploads/'), {
      headers: this.#headers,
      accept: [202],
    })
    const session = new URL(opened.headers.get('location') ?? '', this.#origin).href
    const headers = { ...this.#headers, 'Transfer-Encoding': 'chunked' }
    const { file, sizeBytes } = payload
    const location = await curlSend('PATCH', { url: session, headers }, file, sizeBytes)
    const end = new URL(location, this.#origin)
    end.searchParams.set('digest', digestOf(payload))
    await call('PUT', end.href, { headers: this.#headers, accept: [201] })
  }

  blobTarget(payload: Payload): Target {
    return { url: this.#url(`blobs/${digestOf(payload)}`), headers: this.#headers }
  }

  manifestTarget(tag: string): Target {
    const headers = { ...this.#headers, Accept: 'application/vnd.oci.image.manifest.v1+json' }
    return { url: this.#url(`manifests/${tag}`), headers }
  }

  /** The registry's row or link; its file is another matter. */
  async deleteBlob(payload: Payload): Promise<void> {
    const { url, headers } = this.blobTarget(payload)
    await call('DELETE', url, { headers, accept: [202] })
  }

  #url(path: string): string {
    return `${this.#origin}/v2/${this.#repository}/${path}`
  }
}

function digestOf({ sha256 }: Payload): string {
  return `sha256:${sha256}`
}
