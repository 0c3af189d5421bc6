/**
 * TLS in front of a server that speaks plain HTTP, as a site's proxy is: with a certificate of a
 * throw-away authority, on a loopback address of its own, so that even port 443 is free.
 */
import { randomInt } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'

import { CertificateAuthority } from './certificate-authority.ts'
import { freePort } from './free-port.ts'
import type { Lifetime } from './server.ts'

export interface TlsFront {
  /** What clients are told: `https://127.x.y.z`, with the port where that is not 443. */
  readonly url: string
  /** The certificate of the authority, in PEM. */
  readonly caFile: string
  /** Where the server behind it is to listen, on 127.0.0.1. */
  readonly serverPort: number
}

/** `port` 443 needs root; 0 is any. */
export async function startTlsFront(t: Lifetime, port: 0 | 443): Promise<TlsFront> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-tls-'))
  t.after(async () => rmSync(directory, { recursive: true, force: true }))
  const address = `127.${[1, 2, 3].map(() => randomInt(1, 255)).join('.')}`
  const authority = new CertificateAuthority(directory)
  const { keyFile, certificateFile } = authority.issue('front', `IP:${address}`)
  const serverPort = await freePort()
  const front = createServer(
    { key: readFileSync(keyFile), cert: readFileSync(certificateFile) },
    (client) => {
      const server = connect(serverPort, '127.0.0.1')
      for (const [one, other] of [
        [client, server],
        [server, client],
      ] as const) {
        one.on('error', () => other.destroy())
        one.on('close', () => other.destroy())
        one.pipe(other)
      }
    },
  )
  front.on('tlsClientError', () => {})
  await new Promise<void>((resolve, reject) => {
    front.once('error', reject)
    front.listen(port, address, resolve)
  })
  t.after(async () => void front.close())
  const { port: actual } = front.address() as AddressInfo
  const url = `https://${address}${actual === 443 ? '' : `:${actual}`}`
  return { url, caFile: authority.caFile, serverPort }
}
