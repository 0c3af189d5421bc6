/** Kinds of values that the LDAP and the portal settings share. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'

import { z } from 'zod'

import { Secret } from './secret.ts'

export const line = z
  .string()
  .min(1)
  .regex(/^\P{Cc}*$/u, 'expected one line of text')

export const seconds = (otherwise: number) => z.number().min(0.1).max(60).default(otherwise)

/** The text of a PEM file with one certificate or several. */
export const certificateFile = line.transform((file, context) => {
  const text = readFile(file, context)
  if (text === undefined) return z.NEVER
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (blocks.length > 0 && blocks.every(isCertificate)) return blocks.join('\n')
  context.addIssue({ code: 'custom', message: `${file} has no certificate in PEM form` })
  return z.NEVER
})

/** The first line of a file, which is not empty: some directories take no password for no check. */
export const secretFile = line.transform((file, context) => {
  const text = readFile(file, context)?.split('\n', 1)[0]?.replace(/\r$/, '')
  if (text === undefined) return z.NEVER
  if (text !== '') return new Secret(text)
  context.addIssue({ code: 'custom', message: `${file} is empty` })
  return z.NEVER
})

/** Whether what is sent to this host stays on this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/** The host of a URL as sockets want it: an IPv6 address without its brackets. */
export function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '')
}

/**
 * A check that runs even when single keys are wrong already, so that all mistakes are told at once.
 * The value is what could be parsed of the table, and may lack anything.
 */
export function acrossKeys<T>(
  look: (table: Partial<T>, complain: (key: string, message: string) => void) => void,
): z.core.$ZodCheck<T> {
  return z.superRefine<T>(
    (table, context) => {
      if (typeof table !== 'object' || table === null) return
      look(table, (key, message) => {
        context.addIssue({ code: 'custom', message, path: key.split('.') })
      })
    },
    { when: () => true },
  )
}

function readFile(file: string, context: z.core.$RefinementCtx): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const message = `${file} cannot be read: ${(error as Error).message}`
    context.addIssue({ code: 'custom', message })
    return undefined
  }
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).serialNumber !== ''
  } catch {
    return false
  }
}
