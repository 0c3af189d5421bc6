/**
 * The work of a builder host: asks the server, does what it answers, and asks again, at once when
 * something has changed here. Everything that runs outlives this program.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'

import type { Log } from '../log.ts'
import { berthVersion } from '../version.ts'
import type { Runs } from './runs.ts'
import { testWalls } from './self-test.ts'
import type { SelfTestResult } from './self-test.ts'
import type { Answer, HostLink, Report } from './server-link.ts'
import type { BuilderProgramSettings } from './settings.ts'

export interface ServeOptions {
  readonly settings: BuilderProgramSettings
  readonly link: HostLink
  readonly runs: Runs
  readonly log: Log
  /** Aborted when the program has to end. */
  readonly stop: AbortSignal
}

const lookMs = 250
const firstPauseMs = 250
/** The server believes a host gone that asks less often. */
const longestPauseMs = 4_000
const farewellMs = 3_000

/** Settles when `stop` is aborted and the server knows of it, as far as it can be reached. */
export async function serveBuilds(options: ServeOptions): Promise<void> {
  const { settings, link, runs, log, stop } = options
  const instance = randomBytes(16).toString('hex')
  let selfTest: SelfTestResult | null = null
  let asking = new AbortController()
  const changed = (): void => asking.abort()
  stop.addEventListener('abort', changed)

  const reportNow = (): Report => ({
    name: settings.name,
    instance,
    archs: settings.archs,
    slots: settings.slots,
    version: berthVersion,
    runs: runs.report(),
    selfTest,
    leaving: stop.aborted,
  })

  async function testByTheClock(): Promise<void> {
    while (!stop.aborted) {
      const result = await testWalls(settings.runner, stop)
      if (stop.aborted) return
      selfTest = result
      if (result.failure === null) log.info('the walls of builds hold')
      else log.error({ failure: result.failure }, 'the walls of builds do not hold: no builds')
      changed()
      const { selfTestSeconds, restSeconds } = settings
      const seconds = result.failure === null ? selfTestSeconds : restSeconds
      await delay(seconds * 1000, undefined, { signal: stop }).catch(() => {})
    }
  }

  async function watchRuns(): Promise<void> {
    while (!stop.aborted) {
      if (await runs.look()) changed()
      await delay(lookMs, undefined, { signal: stop }).catch(() => {})
    }
  }

  async function obey({ start, cancel, forget }: Answer): Promise<void> {
    for (const order of start) await runs.start(order)
    for (const run of forget) await runs.forget(run)
    for (const run of cancel) void runs.cancel(run).finally(changed)
  }

  async function converse(): Promise<void> {
    let pause = firstPauseMs
    let complaint = ''
    let isConnected = false
    while (!stop.aborted) {
      asking = new AbortController()
      try {
        const answer = await link.ask(reportNow(), asking.signal)
        if (!isConnected || complaint !== '') log.info({ url: settings.url }, 'connected')
        isConnected = true
        complaint = ''
        pause = firstPauseMs
        await obey(answer)
      } catch (error) {
        if (asking.signal.aborted) continue
        const { message } = error as Error
        if (message !== complaint) log.warn({ err: error }, 'the server cannot be asked')
        complaint = message
        await delay(pause, undefined, { signal: stop }).catch(() => {})
        pause = Math.min(pause * 2, longestPauseMs)
      }
    }
  }

  await Promise.all([testByTheClock(), watchRuns(), converse()])
  // So that nobody waits for this host; what runs goes on.
  await link.ask(reportNow(), AbortSignal.timeout(farewellMs)).catch(() => {})
}
