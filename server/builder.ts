/**
 * berth-builder: `node dist/server/builder.js [--config FILE]` makes this host a builder of the site.
 * It asks the server for builds with its token and starts a runner for each. SIGTERM ends it, and not
 * the builds: the next start finds them.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { Runs } from './builder/runs.ts'
import { serveBuilds } from './builder/serve.ts'
import { openHostLink } from './builder/server-link.ts'
import { readBuilderSettings } from './builder/settings.ts'
import type { BuilderProgramSettings } from './builder/settings.ts'
import { LocalExecutor } from './builds/executors/local.ts'
import { createLog } from './log.ts'
import { makeRoomForGroups } from './runner/limits/control-group.ts'
import { readRunnerSettings } from './runner/settings.ts'
import { openUnit } from './unit.ts'

const dayMs = 86_400_000
const log = createLog('info')

async function main(settings: BuilderProgramSettings): Promise<void> {
  const unit = openUnit(log)
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => stop.abort())
  }
  mkdirSync(settings.stateDir, { recursive: true, mode: 0o700 })
  await makeRoomForGroups()
  const executor = new LocalExecutor(settings.runner, join(settings.stateDir, 'logs'))
  const { archs, slots } = settings
  const runs = await Runs.open({
    executor,
    directory: settings.stateDir,
    server: settings,
    archs,
    slots,
    log,
  })
  const expire = (): void => {
    executor.removeLogs(settings.keepLogsDays).catch((error: unknown) => {
      log.warn({ err: error }, 'old logs could not be removed')
    })
  }
  expire()
  const clock = setInterval(expire, dayMs)
  const link = openHostLink(settings)
  log.info({ name: settings.name, url: settings.url, archs, slots }, 'started')
  unit.say({ state: 'READY', status: `Builds for ${settings.url}: ${archs.join(', ')}` })
  unit.startWatchdog()
  try {
    await serveBuilds({ settings, link, runs, log, stop: stop.signal })
  } finally {
    unit.say({ state: 'STOPPING' })
    clearInterval(clock)
    link.close()
  }
  log.info({ running: runs.report().length }, 'stopped: what runs goes on')
}

function readSettings(): BuilderProgramSettings {
  const { values } = parseArgs({
    options: { config: { type: 'string', default: '/etc/berth/builder.toml' } },
  })
  // What is wrong with the lines for runners is said now, and not by each of them.
  readRunnerSettings(values.config)
  return readBuilderSettings(values.config)
}

try {
  await main(readSettings())
} catch (error) {
  process.stderr.write(`berth-builder: ${(error as Error).message}\n`)
  process.exitCode = 2
}
