/** What the answer to a bind with a password means. Pure. */
import type { ResultCodeError } from 'ldapts'

import type { RefusalReason } from '../accounts/directory.ts'
import type { Preset } from '../ldap-settings.ts'

export type BindRefusal =
  | { readonly outcome: 'refused'; readonly reason: RefusalReason; readonly detail: string }
  /** Active Directory says so only after it found the password right. */
  | { readonly outcome: 'password-expired'; readonly detail: string }

/**
 * The number behind `data` in the text of Active Directory's code 49 is a Windows system error, in
 * hexadecimal digits (winerror.h: 0x525 is ERROR_NO_SUCH_USER, 0x533 ERROR_ACCOUNT_DISABLED, …).
 */
const windowsErrors: Readonly<Record<string, RefusalReason | 'password-expired'>> = {
  '525': 'unknown',
  '52e': 'password',
  '530': 'disabled', // not at this time of the day
  '531': 'disabled', // not from this machine
  '532': 'password-expired',
  '533': 'disabled',
  '701': 'expired',
  '773': 'password-expired', // must be changed before the first use
  '775': 'locked',
}

/** The codes that are about the person. All others mean that something is wrong with the directory. */
const codes: Readonly<Record<number, RefusalReason>> = {
  32: 'unknown',
  34: 'malformed',
  48: 'password', // the entry has no password
  49: 'password',
}

/** 389 Directory Server, which FreeIPA stands on. */
const freeipaCodes: Readonly<Record<number, RefusalReason>> = {
  ...codes,
  19: 'locked', // too many wrong passwords
  53: 'disabled', // nsAccountLock
}

/** Undefined for a code that says nothing of the person. */
export function bindRefusal(error: ResultCodeError, preset: Preset): BindRefusal | undefined {
  const reason = (preset === 'freeipa' ? freeipaCodes : codes)[error.code]
  if (reason === undefined) return undefined
  const data = /\bdata ([0-9a-f]{1,8})\b/i.exec(error.message)?.[1]?.toLowerCase()
  if (preset !== 'activedirectory' || error.code !== 49 || data === undefined) {
    return { outcome: 'refused', reason, detail: `LDAP result ${error.code}` }
  }
  const detail = `LDAP result 49, data ${data}`
  const meaning = windowsErrors[data] ?? 'password'
  if (meaning === 'password-expired') return { outcome: meaning, detail }
  return { outcome: 'refused', reason: meaning, detail }
}
