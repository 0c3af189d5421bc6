/** What needs an administrator: one row for each matter while it lasts, shown by berthctl. */
import { sql } from './database.ts'
import type { Db } from './database.ts'

export interface AlarmRow {
  readonly name: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
  readonly raisedAt: Date
}

/** Raising it again keeps the time of the first. */
export async function raiseAlarm(
  db: Db,
  alarm: { readonly name: string; readonly message: string; readonly details?: object },
): Promise<void> {
  await db.query(sql`
    insert into alarms (name, message, details)
    values (${alarm.name}, ${alarm.message}, ${JSON.stringify(alarm.details ?? {})})
    on conflict (name) do update set message = excluded.message, details = excluded.details`)
}

export async function clearAlarm(db: Db, name: string): Promise<void> {
  await db.query(sql`delete from alarms where name = ${name}`)
}

export async function listAlarms(db: Db): Promise<AlarmRow[]> {
  return await db.query<AlarmRow>(
    sql`select name, message, details, raised_at as "raisedAt" from alarms order by raised_at, name`,
  )
}
