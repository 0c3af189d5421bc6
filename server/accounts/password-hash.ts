/** Passwords of local accounts: scrypt (RFC 7914), stored as `scrypt$N$r$p$salt$key` in base64url. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

import { Failure } from '../failure.ts'

interface Cost {
  readonly N: number
  readonly r: number
  readonly p: number
}

// 32 MiB and some 60 ms a check: OWASP's second recommendation for interactive sign-in.
const cost: Cost = { N: 2 ** 15, r: 8, p: 3 }
const keyBytes = 32

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16)
  const key = await derive(password, salt, cost)
  const fields = [cost.N, cost.r, cost.p, salt.toString('base64url'), key.toString('base64url')]
  return `scrypt$${fields.join('$')}`
}

/** Takes the same time for an account that does not exist: pass undefined. */
export async function checkPassword(
  password: string,
  stored: string | undefined,
): Promise<boolean> {
  const match = /^scrypt\$(\d+)\$(\d+)\$(\d+)\$([\w-]+)\$([\w-]+)$/.exec(stored ?? nobody)
  if (match === null) return false
  const [, N, r, p, salt = '', key = ''] = match
  const derived = await derive(password, Buffer.from(salt, 'base64url'), {
    N: Number(N),
    r: Number(r),
    p: Number(p),
  })
  const expected = Buffer.from(key, 'base64url')
  return (
    expected.length === derived.length && timingSafeEqual(expected, derived) && stored !== undefined
  )
}

/** A hash that no password has. */
const nobody = `scrypt$${cost.N}$${cost.r}$${cost.p}$${'A'.repeat(22)}$${'A'.repeat(43)}`

async function derive(password: string, salt: Buffer, { N, r, p }: Cost): Promise<Buffer> {
  // The same password typed on two keyboards may arrive composed differently.
  const text = password.normalize('NFC')
  return await inLine(
    async () =>
      await new Promise((resolve, reject) => {
        scrypt(text, salt, keyBytes, { N, r, p, maxmem: 256 * N * r }, (error, key) => {
          if (error) reject(error)
          else resolve(key)
        })
      }),
  )
}

// scrypt runs on the threads that read and write the files of all uploads and downloads, so that a
// flood of sign-ins would stop those: one at a time, and not more in line than answer in time.
const maxInLine = 64
let line: Promise<unknown> = Promise.resolve()
let inLineNow = 0

async function inLine<Result>(work: () => Promise<Result>): Promise<Result> {
  if (inLineNow >= maxInLine) {
    throw new Failure('unavailable', 'account', 'Too many sign-ins at once: try again shortly.')
  }
  inLineNow += 1
  const mine = line.then(work, work)
  line = mine.catch(() => {})
  try {
    return await mine
  } finally {
    inLineNow -= 1
  }
}
