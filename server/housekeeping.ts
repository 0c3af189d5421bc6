/** All that runs by the clock, in one list: the server runs it, and berthctl shows it. */
import { tellEndingTokens } from './accounts/token-notices.ts'
import type { Appliance } from './appliance.ts'
import { checkBackupAge } from './backup/records.ts'
import type { Job } from './schedule.ts'

/** Times are UTC; a job waits up to 20 seconds more. */
export function housekeepingOf(appliance: Appliance): readonly Job[] {
  const { config, database } = appliance
  return [
    // Uploads and reservations that ended, deleted images whose days are over, blobs without a link.
    { name: 'sweep', cron: '*/15 * * * *', run: async () => await appliance.sweep() },
    {
      name: 'revalidation',
      cron: `*/${config.signIn.revalidateMinutes} * * * *`,
      run: async () => (await appliance.revalidate()) ?? {},
    },
    {
      name: 'image signatures',
      cron: '* * * * *',
      run: async () => await appliance.imageChecks.workOff(),
    },
    {
      name: 'scrub',
      cron: '*/5 * * * *',
      // A file that was begun is finished, however large it is.
      mayRunMinutes: 24 * 60,
      run: async (closing) => await appliance.scrub.portion(closing),
    },
    // Images that builds left and nobody named, their output, their contexts.
    { name: 'builds', cron: '23 * * * *', run: async () => await appliance.builder.expire() },
    {
      name: 'sign-in attempts',
      cron: '7 * * * *',
      run: async () => ({ forgotten: await appliance.signIn.forgetOldAttempts() }),
    },
    // The last of a day stays: what usage forecasts from.
    {
      name: 'daily totals',
      cron: '53 * * * *',
      run: async () => await appliance.holdings.countDay(),
    },
    {
      name: 'backup age',
      cron: '11,41 * * * *',
      run: async () => ({ late: await checkBackupAge(database, config.backup?.alarmHours) }),
    },
    { name: 'retention', cron: '41 2 * * *', run: async () => await appliance.retention.act() },
    { name: 'quota recount', cron: '11 4 * * *', run: async () => await appliance.recount() },
    {
      name: 'token notices',
      cron: '31 6 * * *',
      run: async () =>
        await tellEndingTokens(database, {
          siteName: config.siteName,
          publicUrl: config.publicUrl,
          mailCommand: config.tokens.mailCommand,
        }),
    },
  ]
}
