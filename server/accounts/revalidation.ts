/**
 * Every few minutes Berth asks the directory about the accounts that it made for its people: who is
 * disabled or gone is suspended, who is back is restored, groups are taken over. An outage, an error
 * or a change that is too large to be true changes nothing and raises an alarm.
 */
import { clearAlarm, raiseAlarm } from '../alarms.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { directoryOperator } from './accounts.ts'
import { audit } from './audit.ts'
import { isAllowed, refreshAccount } from './directory-accounts.ts'
import type { DirectoryRules } from './directory-accounts.ts'
import type { Directory, Standing } from './directory.ts'
import { usableNames } from './groups.ts'

export interface RevalidationOptions {
  readonly directory: Directory
  readonly rules: DirectoryRules
  /** An administrator has looked at the alarm: suspend however many there are. */
  readonly confirmed?: boolean
}

export interface RevalidationResult {
  readonly checked: number
  readonly suspended: readonly string[]
  readonly restored: readonly string[]
  /** Who would be suspended or lose a group, when those are too many to be believed. */
  readonly held: readonly string[]
}

interface Checked {
  readonly id: string
  readonly name: string
  readonly directoryId: string
  readonly suspended: boolean
  readonly groups: readonly string[]
}

const alarm = 'directory-revalidation'

/** More people who lose something in one run are a fault of the directory until somebody confirms. */
function believable(checked: number): number {
  return Math.max(20, Math.floor(checked * 0.05))
}

/** Undefined where the directory cannot be asked without a password. */
export async function revalidate(
  database: Database,
  { directory, rules, confirmed = false }: RevalidationOptions,
): Promise<RevalidationResult | undefined> {
  if (directory.standing === undefined) return undefined
  const accounts = await database.query<Checked>(sql`
    select id, name, directory_id as "directoryId", suspended_at is not null as "suspended",
      array(select g.name from memberships m join groups g on g.id = m.group_id
        where m.account_id = accounts.id) as "groups"
    from accounts where provider = ${directory.provider} order by name`)
  const standings = await askAll(database, directory, accounts)
  const verdicts = accounts.map((account) => ({
    account,
    reason: reasonAgainst(standings.get(account.directoryId), rules),
  }))
  const losing = verdicts.filter(({ account, reason }) => {
    if (account.suspended) return false
    return reason !== null || losesGroup(account, standings.get(account.directoryId))
  })
  if (losing.length > believable(accounts.length) && !confirmed) {
    const held = losing.map(({ account }) => account.name)
    await raiseAlarm(database, {
      name: alarm,
      message: `The directory says that ${held.length} of ${accounts.length} people are gone, are disabled or have left groups. Nothing was changed. If it is true, run: berthctl directory revalidate --confirm`,
      details: { held },
    })
    return { checked: accounts.length, suspended: [], restored: [], held }
  }
  const suspended: string[] = []
  const restored: string[] = []
  for (const { account, reason } of verdicts) {
    const standing = standings.get(account.directoryId)
    if (reason !== null) {
      if (await suspend(database, account, reason)) suspended.push(account.name)
    } else if (standing?.state === 'present') {
      await database.transaction(async (tx) => {
        await refreshAccount(tx, account.id, standing.entry, rules)
      })
      if (account.suspended) restored.push(account.name)
    }
  }
  await clearAlarm(database, alarm)
  return { checked: accounts.length, suspended, restored, held: [] }
}

/** Everybody or nobody: from half an answer nobody is suspended. */
async function askAll(
  database: Database,
  directory: Directory,
  accounts: readonly Checked[],
): Promise<ReadonlyMap<string, Standing>> {
  try {
    const ids = accounts.map(({ directoryId }) => directoryId)
    const standings = (await directory.standing?.(ids)) ?? new Map<string, Standing>()
    const missing = ids.filter((id) => !standings.has(id))
    if (missing.length > 0) throw new Error(`no answer for ${missing.length} of ${ids.length}`)
    return standings
  } catch (error) {
    await raiseAlarm(database, {
      name: alarm,
      message: `The directory could not be asked about the accounts: ${(error as Error).message} Nobody was suspended, and tokens go on working.`,
    })
    throw error
  }
}

/** Null for somebody who may go on. */
function reasonAgainst(standing: Standing | undefined, rules: DirectoryRules): string | null {
  if (standing === undefined) return null
  if (standing.state === 'gone') return 'not in the directory any more'
  if (standing.state === 'barred') return `${standing.reason} in the directory`
  return isAllowed(standing.entry, rules) ? null : 'not in an allowed group any more'
}

function losesGroup(account: Checked, standing: Standing | undefined): boolean {
  if (standing?.state !== 'present') return false
  const now = usableNames(standing.entry.groups)
  return account.groups.some((group) => !now.includes(group))
}

async function suspend(database: Database, account: Checked, reason: string): Promise<boolean> {
  return await database.transaction(async (tx) => {
    const changed = await tx.query(sql`
      update accounts set suspended_at = now(), suspended_reason = ${reason}
      where id = ${account.id} and suspended_at is null returning 1`)
    if (changed.length === 0) return false
    await audit(tx, directoryOperator, {
      action: 'account.suspend',
      target: account.name,
      details: { reason },
    })
    return true
  })
}
