/** A throw-away certificate authority, made with openssl in a directory that ends with the test. */
import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificate {
  readonly keyFile: string
  readonly certificateFile: string
}

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

export class CertificateAuthority {
  readonly caFile: string
  readonly #directory: string
  readonly #name: string

  constructor(directory: string, name = 'authority') {
    this.#directory = directory
    this.#name = name
    this.caFile = this.#path('pem')
    const subject = ['-subj', `/CN=${name} of a test`, '-days', '2']
    openssl('req', '-x509', ...curve, ...subject, '-keyout', this.#path('key'), '-out', this.caFile)
  }

  /** `names` as in a certificate: "DNS:ldap.site.test,IP:127.0.0.1". Negative days: it is over. */
  issue(file: string, names: string, days = 2): Certificate {
    const path = (kind: string): string => join(this.#directory, `${this.#name}-${file}.${kind}`)
    const subject = ['-subj', `/CN=${file}`]
    openssl('req', '-new', ...curve, ...subject, '-keyout', path('key'), '-out', path('csr'))
    writeFileSync(path('ext'), `subjectAltName=${names}\n`)
    const signer = ['-CA', this.caFile, '-CAkey', this.#path('key'), '-CAcreateserial']
    const what = ['-in', path('csr'), '-extfile', path('ext'), '-days', String(days)]
    openssl('x509', '-req', ...what, ...signer, '-out', path('pem'))
    return { keyFile: path('key'), certificateFile: path('pem') }
  }

  #path(kind: string): string {
    return join(this.#directory, `${this.#name}.${kind}`)
  }
}

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' })
}
