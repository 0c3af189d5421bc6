/** The web unit: configuration → appliance → app → listen → on SIGTERM or Ctrl-C drain and close. */
import { addFirstAccount } from './accounts/first-account.ts'
import { createApp } from './app.ts'
import { openAppliance } from './appliance.ts'
import type { Appliance } from './appliance.ts'
import { ConfigError, readConfig } from './config.ts'
import type { Config } from './config.ts'
import { Failure } from './failure.ts'
import { listen } from './listener.ts'
import { createLog } from './log.ts'
import { startSchedule } from './schedule.ts'
import { welcome } from './welcome.ts'

const drainMs = 60_000

async function main(config: Config): Promise<void> {
  const log = createLog(config.log.level)
  const appliance = await openAppliance(config, log)
  try {
    await serve(appliance)
  } catch (error) {
    await appliance.close()
    throw error
  }
}

async function serve(appliance: Appliance): Promise<void> {
  const { config, log } = appliance
  await appliance.uploads.recover()
  const first = await addFirstAccount(appliance.database)
  const { idleSeconds } = config.uploads
  const listener = await listen(createApp(appliance), { ...config.listen, idleSeconds })
  const jobs = [
    {
      name: 'sweep',
      cron: '*/15 * * * *',
      run: async (): Promise<object> => await appliance.sweep(),
    },
  ]
  const schedule = startSchedule(jobs, appliance.database, log)
  process.stdout.write(welcome(config, first))

  let stopping = false
  const stop = (signal: string): void => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'stopping: running requests may end')
    void (async () => {
      await listener.close(drainMs)
      await schedule.stop()
      await appliance.close()
      log.info('stopped')
    })()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

try {
  await main(readConfig())
} catch (error) {
  const expected = error instanceof ConfigError || error instanceof Failure
  const { code } = error as NodeJS.ErrnoException
  const text =
    code === 'EADDRINUSE' || code === 'EACCES'
      ? `${(error as Error).message}: choose another address, for example BERTH_LISTEN=127.0.0.1:5081`
      : expected
        ? error.message
        : (error as Error).stack
  process.stderr.write(`berth: ${text}\n`)
  process.exitCode = error instanceof ConfigError ? 2 : 1
}
