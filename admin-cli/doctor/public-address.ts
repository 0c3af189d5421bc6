/** The public address as clients find it: that it answers, is this site, and has a good certificate. */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'

import { calculateJwkThumbprint, exportJWK } from 'jose'

import { discoveryDocument } from '../../server/discovery/routes.ts'
import { certificateDays, isChainCode, isExpiryCode, isNameCode } from './certificates.ts'
import { fault, messageOf, skipped } from './check.ts'
import type { Check, Outcome } from './check.ts'
import type { Site } from './site.ts'
import { lookAtCertificate, visit } from './visit.ts'
import type { ShownCertificate, Visit } from './visit.ts'

export interface PublicSubject {
  readonly site: Site
  /** The discovery document's address; an error when nothing answered. */
  readonly document: Visit | { readonly error: unknown }
  readonly certificate: ShownCertificate | { readonly error: unknown } | undefined
  readonly keys: Visit | undefined
}

const documentPath = '/assets/config/config.prod.json'
/** A token's times are whole seconds, and those of HTTP too. */
const skewSeconds = 5

export async function visitPublicAddress(site: Site): Promise<PublicSubject> {
  const { patienceMs } = site
  const orError = async <T>(work: Promise<T>): Promise<T | { error: unknown }> =>
    await work.catch((error: unknown) => ({ error }))
  const [document, certificate, keys] = await Promise.all([
    orError(visit(site, documentPath, { patienceMs })),
    orError(lookAtCertificate(site)),
    visit(site, '/v1/keys/public', { patienceMs }).catch(() => undefined),
  ])
  return { site, document, certificate, keys }
}

export const publicChecks: readonly Check<PublicSubject>[] = [
  {
    name: 'public-answers',
    fix: 'Start Berth and the proxy (systemctl status berth nginx), and compare public_url with DNS and the firewall.',
    run: ({ document, site }) => {
      const { publicUrl } = site.config
      if ('error' in document)
        return fault(`${publicUrl} does not answer: ${messageOf(document.error)}`)
      if (document.status < 500) return undefined
      return fault(
        `${publicUrl} answers with the status ${document.status}: the proxy does not reach Berth`,
      )
    },
  },
  {
    name: 'public-site',
    fix: 'Correct public_url or DNS, or the server block of the proxy: another site is at this address.',
    run: async ({ document, keys, site }) => {
      if ('error' in document || document.status >= 500) return notThere
      const { publicUrl } = site.config
      if (document.status !== 200 || parse(document.body) === undefined) {
        return fault(`what answers at ${publicUrl} is no Berth (status ${document.status})`)
      }
      const own = await ownKey(site)
      const shown = keys === undefined ? undefined : keyIdOf(parse(keys.body))
      if (own === undefined || shown === own) return undefined
      return fault(
        `what answers at ${publicUrl} is another Berth: its signing key is not that of this host`,
      )
    },
  },
  {
    name: 'public-discovery',
    fix: 'Restart Berth so that it has the configuration of the file, and look for a cache in the proxy.',
    run: ({ document, site }) => {
      if ('error' in document || document.status !== 200) return notThere
      const found = parse(document.body)
      if (found === undefined) return notThere
      const expected = discoveryDocument(site.config)
      const names = new Set([...Object.keys(found), ...Object.keys(expected)])
      const other = [...names].filter((name) => !isDeepStrictEqual(found[name], expected[name]))
      if (other.length === 0) return undefined
      return fault(`the discovery document differs from the configuration in ${other.join(', ')}`)
    },
  },
  {
    name: 'public-clock',
    fix: 'Let chrony or systemd-timesyncd keep the clocks of this host and of the proxy.',
    run: ({ document, site }) => {
      if ('error' in document) return notThere
      const date = Date.parse(document.headers.date ?? '')
      if (Number.isNaN(date)) return skipped('the reply has no date')
      // Taken when the reply is there; the header has whole seconds.
      const here = site.host.now().getTime() - (Date.now() - document.at.getTime())
      const skew = (date + 500 - here) / 1000
      if (Math.abs(skew) <= skewSeconds) return undefined
      const side = skew > 0 ? 'ahead of' : 'behind'
      return fault(`its clock is ${Math.abs(Math.round(skew))} s ${side} this host's`)
    },
  },
  {
    name: 'public-certificate-end',
    fix: 'Renew the certificate now, and mend what should have renewed it.',
    run: (subject) =>
      ofCertificate(subject, ({ code, expiresAt }) => {
        const days = (expiresAt.getTime() - subject.site.host.now().getTime()) / 86_400_000
        if (days < 0 || (code !== undefined && isExpiryCode(code))) return undefined
        if (days >= certificateDays) return undefined
        return fault(`the certificate ends ${dayOf(expiresAt)}, in ${Math.floor(days)} days`)
      }),
  },
  {
    name: 'public-certificate-expired',
    fix: 'Renew the certificate now, and reload the proxy: no client connects.',
    run: (subject) =>
      ofCertificate(subject, ({ code, expiresAt }) => {
        const isOver = expiresAt < subject.site.host.now()
        if (!isOver && (code === undefined || !isExpiryCode(code))) return undefined
        return fault(`the certificate is not valid now; it ends ${dayOf(expiresAt)}`)
      }),
  },
  {
    name: 'public-certificate-chain',
    fix: 'Let the proxy send the whole chain (fullchain.pem); an authority of the site belongs into the trust store of every host, or into --ca here.',
    run: (subject) =>
      ofCertificate(subject, ({ code, chain }) => {
        if (code === undefined || !isChainCode(code)) return undefined
        const sent = chain === 1 ? 'only the certificate itself is sent' : `${chain} are sent`
        return fault(
          `no trusted authority is at the end of the certificate's chain (${code}; ${sent})`,
        )
      }),
  },
  {
    name: 'public-certificate-name',
    fix: 'Get a certificate for the name of public_url and of each of [services].',
    run: (subject) =>
      ofCertificate(subject, ({ code, names }) =>
        code !== undefined && isNameCode(code)
          ? fault(
              `the certificate is for ${names}, not for ${new URL(subject.site.config.publicUrl).hostname}`,
            )
          : undefined,
      ),
  },
]

const notThere = skipped('the public address does not answer as Berth does')

function ofCertificate(
  { certificate }: PublicSubject,
  look: (certificate: ShownCertificate) => Outcome,
): Outcome {
  if (certificate === undefined) return skipped('the public address is without TLS')
  return 'error' in certificate ? notThere : look(certificate)
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

async function ownKey({ config }: Site): Promise<string | undefined> {
  try {
    const pem = readFileSync(join(config.dataDir, 'secrets/token-signing-key.pem'))
    return await calculateJwkThumbprint(await exportJWK(createPublicKey(createPrivateKey(pem))))
  } catch {
    return undefined // another check says so
  }
}

function keyIdOf(set: Record<string, unknown> | undefined): string | undefined {
  const text = JSON.stringify(set ?? {})
  return /"kid":"([^"]+)"/.exec(text)?.[1]
}

function dayOf(moment: Date): string {
  return moment.toISOString().slice(0, 10)
}
