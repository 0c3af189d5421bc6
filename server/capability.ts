/**
 * Capability URLs: `/dl/<payload>.<mac>`, `/ul/<payload>.<mac>`, `/ul/context/…` and `/ul/probe/…`. Clients send no credential to
 * them (or one of another service), so the address itself is the right: to one object, with one
 * method, until a fixed time. The key is the host's own; nothing is stored for them. When the key is
 * rotated, what the former one sealed is good for its time.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

import { z } from 'zod'

import { RotatedSecret } from './rotated-secret.ts'

const download = z.strictObject({
  /** sha256:<hex> */
  digest: z.string(),
  size: z.number(),
  /** Unix seconds. */
  exp: z.number(),
})

const upload = z.strictObject({
  upload: z.string(),
  /** 0: the whole file. */
  part: z.number(),
  exp: z.number(),
})

const contextUpload = z.strictObject({
  /** 32 hex digits. */
  context: z.string(),
  exp: z.number(),
})

const probe = z.strictObject({
  /** How long the reply is held back. */
  holdMs: z.number().min(0).max(600_000),
  exp: z.number(),
})

export type Download = Omit<z.infer<typeof download>, 'exp'>
export type Upload = Omit<z.infer<typeof upload>, 'exp'>
export type ContextUpload = Omit<z.infer<typeof contextUpload>, 'exp'>

export type Probe = Omit<z.infer<typeof probe>, 'exp'>

const lifetimeSeconds = 6 * 3600
const probeSeconds = 15 * 60

export type CapabilityKeys = RotatedSecret<Buffer>

export async function openCapabilityKeys(path: string): Promise<CapabilityKeys> {
  return await RotatedSecret.open(path, {
    name: 'capability-key',
    make: () => randomBytes(32).toString('hex'),
    parse: (text) => Buffer.from(text.trim(), 'hex'),
    retire: (text) => text,
    overlapSeconds: lifetimeSeconds,
  })
}

type KeySource = Pick<CapabilityKeys, 'current' | 'find'>

/** A key that is not rotated here: for whoever has read the file and changes nothing. */
export function oneKey(key: Buffer): KeySource {
  return { current: key, find: (fits) => (fits(key) ? key : undefined) }
}

export class Capabilities {
  readonly #keys: KeySource

  constructor(keys: KeySource) {
    this.#keys = keys
  }

  downloadPath(what: Download): string {
    return `/dl/${this.#seal('dl', what)}`
  }

  uploadPath(what: Upload): string {
    return `/ul/${this.#seal('ul', what)}`
  }

  contextPath(what: ContextUpload): string {
    return `/ul/context/${this.#seal('context', what)}`
  }

  probePath(what: Probe): string {
    return `/ul/probe/${this.#seal('probe', what, probeSeconds)}`
  }

  /** What the path gives a right to; undefined when it is forged, altered, or over. */
  openDownload(sealed: string): Download | undefined {
    return this.#open('dl', sealed, download)
  }

  openUpload(sealed: string): Upload | undefined {
    return this.#open('ul', sealed, upload)
  }

  openContextUpload(sealed: string): ContextUpload | undefined {
    return this.#open('context', sealed, contextUpload)
  }

  openProbe(sealed: string): Probe | undefined {
    return this.#open('probe', sealed, probe)
  }

  #seal(method: string, what: object, seconds = lifetimeSeconds): string {
    const exp = Math.floor(Date.now() / 1000) + seconds
    const payload = Buffer.from(JSON.stringify({ ...what, exp })).toString('base64url')
    return `${payload}.${macOf(this.#keys.current, method, payload).toString('base64url')}`
  }

  #open<What extends { exp: number }>(
    method: string,
    sealed: string,
    schema: z.ZodType<What>,
  ): What | undefined {
    const [payload = '', mac = ''] = sealed.split('.')
    const given = Buffer.from(mac, 'base64url')
    const sealedIt = (key: Buffer): boolean => {
      const expected = macOf(key, method, payload)
      return given.length === expected.length && timingSafeEqual(given, expected)
    }
    if (this.#keys.find(sealedIt) === undefined) return undefined
    const what = schema.parse(JSON.parse(Buffer.from(payload, 'base64url').toString()))
    return what.exp > Date.now() / 1000 ? what : undefined
  }
}

function macOf(key: Buffer, method: string, payload: string): Buffer {
  return createHmac('sha256', key).update(`${method}:${payload}`).digest()
}
