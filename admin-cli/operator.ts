/** Who types a command on this host: under this name the audit log has what the command changes. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'

import { hostOperator as anybody } from '../server/accounts/accounts.ts'
import type { AccountActor } from '../server/accounts/actor.ts'

/** What the kernel has for a process that nobody's session began. */
const nobody = 2 ** 32 - 1

/** `erika@host`: erika, also where sudo or su made another account of her. */
export const hostOperator: AccountActor = { ...anybody, name: `${operatorName()}@host` }

function operatorName(): string {
  const uid = loginUid()
  const { SUDO_USER: sudoUser, SUDO_UID: sudoUid } = process.env
  // The kernel's word cannot be set by whoever runs this; sudo's is from the environment.
  if (uid === undefined) return usable(sudoUser) ?? ownName()
  if (Number(sudoUid) === uid && usable(sudoUser) !== undefined) return usable(sudoUser) ?? ''
  return uid === process.getuid?.() ? ownName() : nameOf(uid)
}

/** Of the session that this process belongs to; it outlives sudo and su (pam_loginuid). */
function loginUid(): number | undefined {
  try {
    const uid = Number(readFileSync('/proc/self/loginuid', 'utf8'))
    return Number.isSafeInteger(uid) && uid !== nobody ? uid : undefined
  } catch {
    return undefined // no such file, as in some containers
  }
}

function ownName(): string {
  try {
    return usable(userInfo().username) ?? nameOf(process.getuid?.() ?? 0)
  } catch {
    return `uid-${process.getuid?.() ?? '?'}` // no entry for it
  }
}

/** From whatever the host asks about its people, which may be a directory. */
function nameOf(uid: number): string {
  try {
    const entry = execFileSync('getent', ['passwd', String(uid)], {
      encoding: 'utf8',
      timeout: 3000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return usable(entry.split(':', 1)[0]) ?? `uid-${uid}`
  } catch {
    return `uid-${uid}`
  }
}

function usable(name: string | undefined): string | undefined {
  return name !== undefined && /^[\w.][\w.@-]{0,63}$/.test(name) ? name : undefined
}
