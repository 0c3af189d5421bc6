/**
 * The runner: `node dist/server/runner/main.js --job FILE [--config FILE]` does one build and exits with
 * 0 when the server knows how it ended, whatever that is, and with 3 when the walls do not hold here and
 * nothing of it has run. SIGTERM and SIGINT cancel.
 * `--self-test [--config FILE]` opens a sandbox, proves its walls, and says what they are made of: 0, or
 * 3 and why not.
 */
import { parseArgs } from 'node:util'

import { createLog } from '../log.ts'
import { runBuild } from './build.ts'
import { takeJobFile } from './job.ts'
import { openSandbox } from './sandbox.ts'
import { openServerLink } from './server-link.ts'
import { readRunnerSettings } from './settings.ts'
import type { RunnerSettings } from './settings.ts'
import { openWorkDirectory } from './work-directory.ts'

const { values } = parseArgs({
  options: {
    job: { type: 'string' },
    config: { type: 'string' },
    'self-test': { type: 'boolean', default: false },
  },
})
const wallsDoNotHold = 3
const log = createLog('info')
process.exitCode = await main()

async function main(): Promise<number> {
  try {
    const settings = readRunnerSettings(values.config)
    if (values['self-test']) return await selfTest(settings)
    if (values.job !== undefined) return await build(settings, values.job)
    log.error('Usage: main.js --job FILE [--config FILE], or --self-test [--config FILE]')
    return 2
  } catch (error) {
    log.error({ err: error }, 'the build could not be done')
    return 1
  }
}

async function build(settings: RunnerSettings, file: string): Promise<number> {
  const cancelled = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => cancelled.abort())
  }
  const jobFile = takeJobFile(file)
  const link = openServerLink(jobFile)
  const outcome = await runBuild({
    link,
    settings,
    ca: jobFile.ca,
    cancelled: cancelled.signal,
  })
  log.info(outcome, 'the build has ended')
  return outcome.state === 'unable' ? wallsDoNotHold : 0
}

async function selfTest(settings: RunnerSettings): Promise<number> {
  const work = await openWorkDirectory(settings.scratchDir)
  try {
    return await proveWalls(settings, work.path)
  } catch (error) {
    log.error({ err: error }, 'the walls do not hold')
    return wallsDoNotHold
  } finally {
    await work.remove()
  }
}

async function proveWalls(settings: RunnerSettings, workDirectory: string): Promise<number> {
  const sandbox = await openSandbox({
    settings,
    workDirectory,
    limits: { ...settings.limits, seconds: 60, cpus: 1, processes: 256, scratchBytes: 2 ** 26 },
    name: `berth-self-test-${process.pid}`,
    command: `exec '${settings.apptainer}' --version`,
  })
  sandbox.output.resume()
  sandbox.image.resume()
  const { status } = await sandbox.ended
  if (status !== 0) throw new Error(`${settings.apptainer} does not run in there (${status})`)
  log.info({ walls: sandbox.report, status }, 'the walls hold')
  return 0
}
