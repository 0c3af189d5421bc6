/**
 * What an entry says about the account and its password, for each kind of directory. Pure: the entry,
 * the site's choices and the present time go in. A time that cannot be read counts against the
 * person, because whoever wrote it meant to end something.
 */
import type { LdapSettings, Preset } from '../ldap-settings.ts'
import type { Entry } from './entry.ts'
import { parseGeneralizedTime } from './generalized-time.ts'

export interface Bar {
  readonly reason: 'disabled' | 'locked' | 'expired'
  /** Attribute and value, for the audit log. */
  readonly detail: string
}

export interface AccountState {
  /** The account may not be used. */
  readonly barred: Bar | undefined
  /**
   * Wrong passwords have locked the account, or had locked it until lately. The directory decides:
   * the mark stays after the lock has ended. It bars nobody who shows a token, or else whoever types
   * wrong passwords for somebody could take that person's tokens away.
   */
  readonly attemptsLock: Bar | undefined
  /** Why the password's time is over. To be said only to somebody who has shown the right one. */
  readonly passwordExpired: string | undefined
}

type Rule = (entry: Entry, now: Date) => Bar | undefined
type PasswordRule = (entry: Entry, now: Date) => string | undefined

interface PresetRules {
  readonly attributes: readonly string[]
  readonly barred: readonly Rule[]
  readonly attemptsLock: Rule
  readonly passwordExpired: PasswordRule
}

// userAccountControl and msDS-User-Account-Control-Computed (MS-ADTS, 2.2.16 and 3.1.1.4.5.17).
const accountDisable = 0x2
const lockout = 0x10
const passwordExpired = 0x80_0000
// accountExpires: 0 and the largest number mean never (MS-ADA1, 2.1).
const neverExpires = 0x7fff_ffff_ffff_ffffn
// Between 1601, when Windows' clock begins, and 1970, in its units of 100 ns.
const windowsEpoch = 116_444_736_000_000_000n
// pwdAccountLockedTime of an account that an administrator locked (draft-behera-ldap-password-policy).
const lockedByAdministrator = '000001010000Z'

const rules: Readonly<Record<Preset, PresetRules>> = {
  openldap: {
    attributes: [
      'pwdAccountLockedTime',
      'pwdStartTime',
      'pwdEndTime',
      'pwdReset',
      'pwdGraceUseTime',
    ],
    barred: [
      (entry) =>
        entry.text('pwdAccountLockedTime') === lockedByAdministrator
          ? bar('locked', entry, 'pwdAccountLockedTime')
          : undefined,
      (entry, now) =>
        isPast(entry, 'pwdEndTime', now) ? bar('expired', entry, 'pwdEndTime') : undefined,
      (entry, now) =>
        isYetToCome(entry, 'pwdStartTime', now)
          ? bar('disabled', entry, 'pwdStartTime')
          : undefined,
    ],
    attemptsLock: (entry) => bar('locked', entry, 'pwdAccountLockedTime'),
    // A grace use is written by a bind with an expired password, and goes with the next change of it.
    passwordExpired: (entry) =>
      isTrue(entry, 'pwdReset')
        ? show(entry, 'pwdReset')
        : entry.text('pwdGraceUseTime') === undefined
          ? undefined
          : show(entry, 'pwdGraceUseTime'),
  },
  activedirectory: {
    attributes: [
      'userAccountControl',
      'msDS-User-Account-Control-Computed',
      'accountExpires',
      'lockoutTime',
    ],
    barred: [
      (entry) =>
        hasFlag(entry, 'userAccountControl', accountDisable)
          ? bar('disabled', entry, 'userAccountControl')
          : undefined,
      (entry, now) =>
        isWindowsTimePast(entry, 'accountExpires', now)
          ? bar('expired', entry, 'accountExpires')
          : undefined,
    ],
    attemptsLock: (entry) => {
      const computed = 'msDS-User-Account-Control-Computed'
      if (entry.text(computed) !== undefined) {
        return hasFlag(entry, computed, lockout) ? bar('locked', entry, computed) : undefined
      }
      return (entry.text('lockoutTime') ?? '0') === '0'
        ? undefined
        : bar('locked', entry, 'lockoutTime')
    },
    passwordExpired: (entry) => {
      const computed = 'msDS-User-Account-Control-Computed'
      return hasFlag(entry, computed, passwordExpired) ? show(entry, computed) : undefined
    },
  },
  freeipa: {
    attributes: ['nsAccountLock', 'krbPrincipalExpiration', 'krbPasswordExpiration'],
    barred: [
      (entry) =>
        isTrue(entry, 'nsAccountLock') ? bar('disabled', entry, 'nsAccountLock') : undefined,
      (entry, now) =>
        isPast(entry, 'krbPrincipalExpiration', now)
          ? bar('expired', entry, 'krbPrincipalExpiration')
          : undefined,
    ],
    attemptsLock: () => undefined,
    // An LDAP bind succeeds with it on servers before 4.10, so the time is compared here.
    passwordExpired: (entry, now) =>
      isPast(entry, 'krbPasswordExpiration', now)
        ? show(entry, 'krbPasswordExpiration')
        : undefined,
  },
}

/** The attributes that must be asked for by name, because many of them are operational. */
export function stateAttributes({ preset, state }: LdapSettings): string[] {
  return [
    ...rules[preset].attributes,
    ...(state.shadowExpire ? ['shadowExpire'] : []),
    ...(state.nologinShells ? ['loginShell'] : []),
    ...(state.disabled ? [state.disabled.attribute] : []),
  ]
}

export function accountState(entry: Entry, settings: LdapSettings, now: Date): AccountState {
  const preset = rules[settings.preset]
  const barred = [...preset.barred, ...siteRules(settings)]
  return {
    barred: firstOf(barred.map((rule) => rule(entry, now))),
    attemptsLock: preset.attemptsLock(entry, now),
    passwordExpired: preset.passwordExpired(entry, now),
  }
}

/** What a site may add to the rules of its preset. */
function siteRules({ state }: LdapSettings): Rule[] {
  const { disabled } = state
  const values = disabled?.values.map((value) => value.toLowerCase()) ?? []
  return [
    (entry, now) =>
      state.shadowExpire && isShadowExpired(entry.text('shadowExpire'), now)
        ? bar('expired', entry, 'shadowExpire')
        : undefined,
    (entry) =>
      state.nologinShells && /\/(?:nologin|false)$/.test(entry.text('loginShell') ?? '')
        ? bar('disabled', entry, 'loginShell')
        : undefined,
    (entry) =>
      disabled &&
      entry.texts(disabled.attribute).some((text) => values.includes(text.toLowerCase()))
        ? bar('disabled', entry, disabled.attribute)
        : undefined,
  ]
}

function firstOf<T>(values: readonly (T | undefined)[]): T | undefined {
  return values.find((value) => value !== undefined)
}

function show(entry: Entry, attribute: string): string {
  return `${attribute} ${entry.text(attribute) ?? ''}`
}

/** Undefined for an entry without the attribute. */
function bar(reason: Bar['reason'], entry: Entry, attribute: string): Bar | undefined {
  return entry.text(attribute) === undefined
    ? undefined
    : { reason, detail: show(entry, attribute) }
}

function isTrue(entry: Entry, attribute: string): boolean {
  return entry.text(attribute)?.toLowerCase() === 'true'
}

function hasFlag(entry: Entry, attribute: string, flag: number): boolean {
  const value = entry.text(attribute)
  return value !== undefined && (Number(value) & flag) !== 0
}

function isPast(entry: Entry, attribute: string, now: Date): boolean {
  const text = entry.text(attribute)
  if (text === undefined) return false
  const time = parseGeneralizedTime(text)
  return time === undefined || time <= now
}

function isYetToCome(entry: Entry, attribute: string, now: Date): boolean {
  const text = entry.text(attribute)
  if (text === undefined) return false
  const time = parseGeneralizedTime(text)
  return time === undefined || time > now
}

function isWindowsTimePast(entry: Entry, attribute: string, now: Date): boolean {
  const text = entry.text(attribute)
  if (text === undefined) return false
  if (!/^\d{1,19}$/.test(text)) return true
  const time = BigInt(text)
  if (time === 0n || time === neverExpires) return false
  return (time - windowsEpoch) / 10_000n <= BigInt(now.getTime())
}

/** Days since 1970 (shadow(5)); a negative number means never. */
function isShadowExpired(text: string | undefined, now: Date): boolean {
  if (text === undefined) return false
  const days = Number(text)
  return !(days < 0) && !(days * 86_400_000 > now.getTime())
}
