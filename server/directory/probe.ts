/** Whether the site's directory or portal answers, without anybody's name or password. */
import { request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import type { TLSSocket } from 'node:tls'

import type { DirectorySettings } from '../directory-settings.ts'
import type { LdapSettings } from '../ldap-settings.ts'
import type { Log } from '../log.ts'
import type { PortalSettings } from '../portal-settings.ts'
import { LdapAccess } from './ldap-access.ts'
import { noReport } from './steps.ts'
import type { Report } from './steps.ts'
import { peerOf, tlsOptions } from './tls-peer.ts'

/**
 * LDAP: one of the servers is reached, its certificate is right, the service account may bind and the
 * base is there. Portal: something speaks HTTP at the address; whatever it says to a request without a
 * password. Throws what stands in the way, as it came.
 */
export async function probeDirectory(
  settings: DirectorySettings,
  log: Log,
  report: Report = noReport,
): Promise<void> {
  if (settings.provider === 'portal') await probePortal(settings, report)
  else await probeLdap(settings, log, report)
}

async function probeLdap(settings: LdapSettings, log: Log, report: Report): Promise<void> {
  const access = new LdapAccess(settings, log, report)
  const endsAt = performance.now() + settings.timeoutMs
  const connection = await access.reach(endsAt, async (open) => {
    const { base, directBind } = settings
    if (settings.service === undefined && directBind !== undefined) return open
    const bound = await access.bindService(open)
    if (base !== undefined) {
      // The base itself, whatever it is called, by the one filter that every entry matches.
      const filter = '(objectClass=*)'
      const { entries } = await bound.search(base, { scope: 'base', filter, attributes: ['1.1'] })
      report({ step: 'search', base, filter, found: entries.map(({ dn }) => dn), references: [] })
    }
    return bound
  })
  connection.close()
}

async function probePortal(settings: PortalSettings, report: Report): Promise<void> {
  const { url, timeoutMs, certificateName, ca } = settings
  const isTls = url.startsWith('https:')
  const { host: _host, ...tls } = tlsOptions(certificateName, ca)
  const options = {
    method: 'HEAD',
    agent: false as const,
    signal: AbortSignal.timeout(timeoutMs),
    headers: { connection: 'close' },
  }
  await new Promise<void>((resolve, reject) => {
    const request = isTls ? requestTls(url, { ...options, ...tls }) : requestPlain(url, options)
    request.on('socket', (socket) => {
      if (!isTls) return
      socket.on('secureConnect', () =>
        report({ step: 'certificate', peer: peerOf(socket as TLSSocket) }),
      )
    })
    request.on('error', reject)
    request.on('response', (response) => {
      response.resume()
      report({ step: 'server', url })
      if ((response.statusCode ?? 0) < 500) resolve()
      else reject(new Error(`the portal answers with the status ${response.statusCode}`))
    })
    request.end()
  })
}
