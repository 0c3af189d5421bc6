/**
 * What systemd and a service say to each other (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)).
 * Anything else that keeps the same protocol will do. Reads the environment once, and takes out what
 * is meant for this process alone, so that no child takes it for its own.
 */
import { writeSync } from 'node:fs'

import type { Log } from './log.ts'

export interface Unit {
  /** Whether a service manager has started this process; nobody reads along then. */
  readonly isManaged: boolean
  /** File descriptors of sockets that listen already. */
  readonly sockets: readonly number[]
  /** The service manager is told; without one nothing happens. */
  say(message: UnitMessage): void
  /** Says that this process lives, as often as the manager wants to hear it. Call when ready. */
  startWatchdog(): void
}

interface UnitMessage {
  readonly state?: 'READY' | 'STOPPING' | 'WATCHDOG'
  /** One line for `systemctl status`. */
  readonly status?: string
}

const firstSocket = 3

export function openUnit(log: Log, env: NodeJS.ProcessEnv = process.env): Unit {
  const { LISTEN_PID, LISTEN_FDS, NOTIFY_SOCKET, BERTH_NOTIFY_FD, WATCHDOG_PID, WATCHDOG_USEC } =
    env
  for (const name of Object.keys(env)) {
    if (/^(?:LISTEN_(?:PID|FDS|FDNAMES)|NOTIFY_SOCKET|BERTH_NOTIFY_FD|WATCHDOG_)/.test(name)) {
      delete env[name]
    }
  }
  const own = String(process.pid)
  const count = LISTEN_PID === own ? Number(LISTEN_FDS) : 0
  const sockets = Array.from({ length: count }, (_, index) => firstSocket + index)
  const notifyFd = BERTH_NOTIFY_FD === undefined ? undefined : Number(BERTH_NOTIFY_FD)
  if (NOTIFY_SOCKET !== undefined && notifyFd === undefined) {
    log.warn('the service manager wants to be notified: start Berth by systemd/with-notify')
  }
  const watchdogMs =
    WATCHDOG_PID === undefined || WATCHDOG_PID === own ? Number(WATCHDOG_USEC ?? 0) / 1000 : 0

  function say({ state, status }: UnitMessage): void {
    if (notifyFd === undefined) return
    const lines = [
      ...(state === undefined ? [] : [`${state}=1`]),
      ...(status === undefined ? [] : [`STATUS=${status.replaceAll('\n', ' ')}`]),
    ]
    try {
      writeSync(notifyFd, lines.join('\n'))
    } catch (error) {
      log.error({ err: error }, 'the service manager could not be notified')
    }
  }

  return {
    isManaged: NOTIFY_SOCKET !== undefined,
    sockets,
    say,
    startWatchdog: () => {
      if (watchdogMs === 0) return
      // Three chances in each period. What hangs this process hangs the timer too.
      setInterval(() => say({ state: 'WATCHDOG' }), watchdogMs / 3).unref()
    },
  }
}
