/** The certificate and the key that Berth serves https with, read again when they change. */
import { X509Certificate } from 'node:crypto'
import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import { createSecureContext } from 'node:tls'

import { ConfigError } from './config.ts'
import type { TlsSettings } from './listen-settings.ts'
import type { Log } from './log.ts'

export interface TlsIdentity {
  readonly cert: Buffer
  readonly key: Buffer
}

/** Renewal puts other files, or links to others, in their place; a look costs two calls of stat. */
const lookMs = 5_000

export class TlsFiles {
  readonly #settings: TlsSettings
  readonly #log: Log
  readonly #users = new Set<(identity: TlsIdentity) => void>()
  readonly #look = (): void => this.reload()
  #identity: TlsIdentity

  constructor(settings: TlsSettings, log: Log) {
    this.#settings = settings
    this.#log = log
    try {
      this.#identity = readIdentity(settings)
    } catch (error) {
      throw new ConfigError([`tls: ${(error as Error).message}`])
    }
    for (const file of [settings.certificateFile, settings.keyFile]) {
      watchFile(file, { interval: lookMs, persistent: false }, this.#look)
    }
  }

  get identity(): TlsIdentity {
    return this.#identity
  }

  /** Calls with the present files at once, and with each later pair that fits. */
  use(user: (identity: TlsIdentity) => void): void {
    this.#users.add(user)
    user(this.#identity)
  }

  /** Connections that stand keep what they began with. Files that do not fit change nothing. */
  reload(): void {
    try {
      const identity = readIdentity(this.#settings)
      if (identity.cert.equals(this.#identity.cert) && identity.key.equals(this.#identity.key)) {
        return
      }
      for (const user of this.#users) user(identity)
      this.#identity = identity
      const { subject, validTo } = new X509Certificate(identity.cert)
      this.#log.info({ 'tls.subject': subject, 'tls.until': validTo }, 'a new certificate is used')
    } catch (error) {
      this.#log.error({ err: error }, 'the new certificate cannot be used: the old one stays')
    }
  }

  close(): void {
    for (const file of [this.#settings.certificateFile, this.#settings.keyFile]) {
      unwatchFile(file, this.#look)
    }
  }
}

/** Throws when one cannot be read, or when the key is another certificate's. */
function readIdentity({ certificateFile, keyFile }: TlsSettings): TlsIdentity {
  const identity = { cert: readFileSync(certificateFile), key: readFileSync(keyFile) }
  try {
    createSecureContext(identity)
  } catch (error) {
    const reason = (error as Error).message
    throw new Error(`${certificateFile} and ${keyFile} cannot be used together: ${reason}`, {
      cause: error,
    })
  }
  return identity
}
