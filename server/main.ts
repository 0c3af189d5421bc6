/** The web unit: configuration → appliance → app → listen → on SIGTERM or Ctrl-C drain and close. */
import { addFirstAccount } from './accounts/first-account.ts'
import { createApp, createSockets } from './app.ts'
import { openAppliance } from './appliance.ts'
import type { Appliance } from './appliance.ts'
import { ConfigError, readConfig } from './config.ts'
import type { Config } from './config.ts'
import { Failure } from './failure.ts'
import { housekeepingOf } from './housekeeping.ts'
import { listen, listenOn } from './listener.ts'
import { createLog } from './log.ts'
import { certificateSource } from './metrics/host.ts'
import { serveMetrics } from './metrics/serve.ts'
import { startSchedule } from './schedule.ts'
import { TlsFiles } from './tls-files.ts'
import { openUnit } from './unit.ts'
import type { Unit } from './unit.ts'
import { welcome } from './welcome.ts'

const drainMs = 60_000
/** A second is what a restart costs, for the connections that have just been accepted. */
const lingerMs = 1_000

async function main(config: Config): Promise<void> {
  const signalled = firstSignal()
  const log = createLog(config.log.level)
  const unit = openUnit(log)
  const appliance = await openAppliance(config, log)
  try {
    await serve(appliance, unit, signalled)
  } catch (error) {
    await appliance.close()
    throw error
  }
}

async function serve(appliance: Appliance, unit: Unit, signalled: Promise<string>): Promise<void> {
  const { config, log } = appliance
  await appliance.uploads.recover()
  const first = unit.isManaged ? undefined : await addFirstAccount(appliance.database)
  const { idleSeconds } = config.uploads
  const sockets = createSockets(appliance)
  const tls = config.tls && new TlsFiles(config.tls, log)
  process.on('SIGHUP', () => tls?.reload())
  const settings = { idleSeconds, sockets, tls, lingerMs }
  const app = createApp(appliance)
  const listener =
    unit.sockets.length > 0
      ? await listenOn(unit.sockets, app, settings)
      : await listen(app, { ...config.listen, ...settings })
  if (tls) appliance.meters.add(certificateSource(() => tls.identity.cert))
  const metrics =
    config.metrics.listen && (await serveMetrics(appliance.meters, config.metrics.listen, log))
  if (config.builder.enabled) appliance.builder.queue.start()
  const schedule = startSchedule(housekeepingOf(appliance), appliance.database, log)
  if (unit.isManaged) log.info({ url: config.publicUrl }, 'serving')
  else process.stdout.write(welcome(config, first))
  unit.say({ state: 'READY', status: `Serving ${config.publicUrl}` })
  unit.startWatchdog()

  void (async () => {
    log.info({ signal: await signalled }, 'stopping: running requests may end')
    appliance.builder.release()
    unit.say({ state: 'STOPPING', status: 'Waiting for requests that run' })
    await listener.close(drainMs)
    tls?.close()
    await metrics?.close()
    await schedule.stop()
    await appliance.close()
    log.info('stopped')
  })()
}

/** Resolves with the first SIGTERM or Ctrl-C. One that comes while Berth starts waits for the start. */
async function firstSignal(): Promise<string> {
  return await new Promise((resolve) => {
    process.on('SIGTERM', resolve)
    process.on('SIGINT', resolve)
  })
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
