import { listAlarms } from '../../server/alarms.ts'
import { checkBackupAge, lastGoodBackup } from '../../server/backup/records.ts'
import { housekeepingOf } from '../../server/housekeeping.ts'
import { listJobs } from '../../server/job-runs.ts'
import type { JobState } from '../../server/job-runs.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const look = verb({
  name: '',
  summary: 'the alarms, the disk, the last backup, and the jobs of the clock',
  options: { json: jsonOption },
  notes:
    'Shows when each job ran last, what came of it, and when it is due next. Exit status 1 while there is an alarm, a part that does not answer or a job that is late.',
  run: async (_words, { json }) => {
    const config = configOfServer()
    await withAppliance(config, async (appliance) => {
      const { database } = appliance
      const { status, checks } = await appliance.health()
      const isReady = status !== 'not ready'
      await checkBackupAge(database, config.backup?.alarmHours)
      const backup = await lastGoodBackup(database)
      const disk = isReady ? await appliance.holdings.today(hostOperator) : undefined
      const alarms = await listAlarms(database)
      const jobs = await listJobs(database, housekeepingOf(appliance))
      const late = jobs.filter(({ isLate }) => isLate)
      if (!isReady || alarms.length > 0 || late.length > 0) process.exitCode = 1
      if (json) {
        printJson({ ready: isReady, checks, disk, alarms, backup: backup ?? null, jobs })
        return
      }
      const amiss = Object.entries(checks).filter(([, state]) => state !== 'ok')
      process.stdout.write(`database and store: ${isReady ? 'ready' : 'NOT READY'}\n`)
      for (const [name, state] of amiss) process.stdout.write(`${name}: ${state}\n`)
      if (disk !== undefined) {
        process.stdout.write(
          `disk: ${sizeInWords(disk.freeBytes)} free, ${sizeInWords(disk.storedBytes)} stored in ${disk.images} ${disk.images === 1 ? 'image' : 'images'}\n`,
        )
      }
      for (const { message, raisedAt } of alarms) {
        process.stdout.write(`ALARM since ${raisedAt.toISOString()}: ${message}\n`)
      }
      const last = backup?.startedAt.toISOString() ?? 'none'
      if (config.backup || backup) process.stdout.write(`last good backup: ${last}\n`)
      if (alarms.length === 0) process.stdout.write('alarms: none\n')
      for (const job of late) process.stdout.write(`LATE: ${lateWords(job)}\n`)
      process.stdout.write(`\n${jobTable(jobs)}`)
    })
  },
})

export const statusCommand: Command = {
  name: 'status',
  summary: 'whether Berth is well, and what needs you',
  verbs: [look],
}

function jobTable(jobs: readonly JobState[]): string {
  const rows = jobs.map((job) => [
    job.name,
    job.lastRun === undefined ? 'never' : minuteOf(job.lastRun.beganAt),
    outcomeOf(job),
    minuteOf(job.nextDueAt),
  ])
  return table([['Job', 'Last run (UTC)', 'Result', 'Next (UTC)'], ...rows])
}

function outcomeOf({ lastRun }: JobState): string {
  if (lastRun === undefined) return ''
  if (lastRun.error !== null) return `FAILED: ${lastRun.error}`
  if (lastRun.endedAt === null) return 'running'
  const numbers = Object.entries(lastRun.result ?? {})
    .filter(([, value]) => typeof value === 'number' && value > 0)
    .map(([name, value]) => `${wordsOfName(name)} ${String(value)}`)
  return numbers.length === 0 ? 'done' : numbers.join(', ')
}

/** imagesGivenUp → "images given up". */
function wordsOfName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

function lateWords({ name, lastSuccessAt, nextDueAt }: JobState): string {
  const due = `was due since then, and is due next at ${minuteOf(nextDueAt)}`
  if (lastSuccessAt === undefined)
    return `${name} has never worked; it ${due}. Is the server running?`
  return `${name} worked last at ${minuteOf(lastSuccessAt)}, ${due}. Is the server running?`
}

function minuteOf(moment: Date): string {
  return moment.toISOString().slice(0, 16)
}
