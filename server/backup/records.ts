/** The rows of backups: what the status, the metrics and the alarm know of them. */
import { clearAlarm, raiseAlarm } from '../alarms.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { newId } from '../identifiers.ts'

export interface BackupRow {
  readonly id: string
  readonly name: string
  readonly directory: string
  readonly startedAt: Date
  readonly endedAt: Date | null
  /** damaged: whole but for bytes that the store itself has lost. */
  readonly outcome: 'running' | 'complete' | 'damaged' | 'failed'
  readonly blobs: number
  readonly bytes: number
  readonly copiedBytes: number
  readonly message: string
}

/** Also ends the rows of backups that were killed: the caller holds the lock of backups. */
export async function beginRecord(
  database: Database,
  name: string,
  directory: string,
): Promise<string> {
  const id = newId()
  await database.query(sql`
    update backups set outcome = 'failed', ended_at = now(), message = 'broken off'
    where outcome = 'running'`)
  await database.query(
    sql`insert into backups (id, name, directory) values (${id}, ${name}, ${directory})`,
  )
  return id
}

export async function endRecord(
  database: Database,
  id: string,
  end: {
    readonly outcome: 'complete' | 'damaged' | 'failed'
    readonly blobs?: number
    readonly bytes?: number
    readonly copiedBytes?: number
    readonly message?: string
  },
): Promise<void> {
  await database.query(sql`
    update backups set outcome = ${end.outcome}, ended_at = now(), blobs = ${end.blobs ?? 0},
      bytes = ${end.bytes ?? 0}, copied_bytes = ${end.copiedBytes ?? 0},
      message = ${end.message ?? ''}
    where id = ${id}`)
  // For a year, as long as tokens live.
  await database.query(sql`delete from backups where ended_at < now() - interval '366 days'`)
}

/** The newest backup that can be restored; undefined when there is none. */
export async function lastGoodBackup(db: Db): Promise<BackupRow | undefined> {
  const [row] = await db.query<BackupRow>(sql`
    select id, name, directory, started_at as "startedAt", ended_at as "endedAt", outcome, blobs,
      bytes, copied_bytes as "copiedBytes", message
    from backups where outcome in ('complete', 'damaged') order by started_at desc limit 1`)
  return row
}

const alarm = 'backup-age'

/**
 * Raises the alarm when the last good backup is older than that, or, where none was ever made, when
 * there has been time for one; clears it otherwise. Without `hours` nobody expects backups.
 */
export async function checkBackupAge(db: Db, hours: number | undefined): Promise<boolean> {
  const [row] = await db.query<{ last: Date | null; late: boolean }>(sql`
    select max(started_at) as "last",
      coalesce(max(started_at),
        (select applied_at from migrations where name = '0010-backup.sql'))
        < now() - make_interval(secs => ${(hours ?? 0) * 3600}) as "late"
    from backups where outcome in ('complete', 'damaged')`)
  if (hours === undefined || row?.late !== true) {
    await clearAlarm(db, alarm)
    return false
  }
  const last =
    row.last === null
      ? 'There is no backup'
      : `The last good backup is of ${row.last.toISOString()}`
  await raiseAlarm(db, {
    name: alarm,
    message: `${last}, and ${hours} hours are the limit: see systemctl status berth-backup.service, or run berthctl backup create.`,
    details: { last: row.last?.toISOString() ?? null },
  })
  return true
}
