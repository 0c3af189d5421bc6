/**
 * Tells people once that an access token of theirs ends in 30 days. The audit log and the listings say
 * it in any case; where the site gives a command that sends mail it goes to the account's address.
 */
import { spawn } from 'node:child_process'

import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { housekeeper } from './accounts.ts'
import { audit } from './audit.ts'

export interface NoticeOptions {
  readonly siteName: string
  readonly publicUrl: string
  /** Program and arguments; gets a message with its headers on standard input, as sendmail -t. */
  readonly mailCommand: readonly string[]
}

export interface NoticeResult {
  readonly told: number
  readonly mailed: number
}

interface Ending {
  readonly id: string
  readonly account: string
  readonly email: string
  readonly label: string
  readonly expiresAt: Date
}

/** Longer than a mail to a queue takes. */
const mailMs = 30_000
/** No blank, no list and no comment, which a header would understand. */
const plainAddress = /^[^\s<>()",;:@]+@[A-Za-z0-9.-]+$/

/** By the clock. What could not be mailed is tried again the next time; that it failed is thrown. */
export async function tellEndingTokens(
  database: Database,
  options: NoticeOptions,
): Promise<NoticeResult> {
  // One that is good for a month in all needs no warning a month before.
  const ending = await database.query<Ending>(sql`
    select t.id, a.name as "account", a.email, t.label, t.expires_at as "expiresAt"
    from tokens t join accounts a on a.id = t.account_id
    where t.end_told_at is null and t.revoked_at is null and t.build_id is null
      and a.disabled_at is null and a.suspended_at is null
      and t.expires_at > now() and t.expires_at < now() + interval '30 days'
      and t.expires_at - t.issued_at > interval '31 days'
    order by t.expires_at`)
  let mailed = 0
  const failed: string[] = []
  for (const token of ending) {
    const isMailed = options.mailCommand.length > 0 && plainAddress.test(token.email)
    try {
      if (isMailed) await send(options.mailCommand, messageOf(token, options))
    } catch (error) {
      failed.push(`${token.account}: ${(error as Error).message}`)
      continue
    }
    if (isMailed) mailed += 1
    await database.transaction(async (tx) => {
      await tx.query(sql`update tokens set end_told_at = now() where id = ${token.id}`)
      const details = { account: token.account, expiresAt: token.expiresAt, mailed: isMailed }
      await audit(tx, housekeeper, { action: 'token.ends-soon', target: token.id, details })
    })
  }
  if (failed.length > 0) {
    throw new Error(`${failed.length} people could not be told of their tokens: ${failed[0]}`)
  }
  return { told: ending.length, mailed }
}

function messageOf({ id, account, email, expiresAt }: Ending, options: NoticeOptions): string {
  const day = expiresAt.toISOString().slice(0, 10)
  return [
    `To: ${email}`,
    `Subject: Your access token for ${options.siteName.replaceAll(/[^\x20-\x7e]/g, '?')} ends on ${day}`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Auto-Submitted: auto-generated',
    '',
    `An access token of ${account} for ${options.publicUrl} ends on ${day} (UTC).`,
    `Its ID is ${id}.`,
    '',
    'Where you still use it, get a new one with get_singularity_token and sign in with it',
    '(remote login --tokenfile) before that day.',
    '',
  ].join('\n')
}

async function send(command: readonly string[], message: string): Promise<void> {
  const [program = '', ...args] = command
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'], timeout: mailMs })
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Error(`${program} ended with ${signal ?? String(code)}`))
    })
    child.stdin.on('error', () => {}) // its end says what went wrong
    child.stdin.end(message)
  })
}
