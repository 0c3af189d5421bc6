/** The host that runs Berth. */
import { fault, warning } from './check.ts'
import type { Check } from './check.ts'
import type { Site } from './site.ts'

/** Sockets, files of transfers, connections to the database, for several hundred people. */
const openFilesNeeded = 4096

/** The last day on which a line of Node gets corrections (nodejs/Release, schedule.json). */
const nodeEnds: Readonly<Record<number, string>> = {
  20: '2026-04-30',
  22: '2027-04-30',
  24: '2028-04-30',
}

export const hostChecks: readonly Check<Site>[] = [
  {
    name: 'host-open-files',
    fix: 'Set LimitNOFILE=65536 in a drop-in of berth.service (systemctl edit berth), or ulimit -n where it is started.',
    run: ({ host }) => {
      if (host.openFiles === undefined || host.openFiles >= openFilesNeeded) return undefined
      return fault(
        `a process may have ${host.openFiles} open files; Berth wants ${openFilesNeeded}`,
      )
    },
  },
  {
    name: 'host-node',
    fix: 'Install a line of Node that gets corrections, 22 or 24, and restart Berth.',
    run: ({ host }) => {
      const major = Number(/^v(\d+)/.exec(host.nodeVersion)?.[1] ?? 0)
      const ends = nodeEnds[major]
      if (ends === undefined) {
        const why = major > 24 ? undefined : fault(`Node ${host.nodeVersion} gets no corrections`)
        return why
      }
      if (host.now() <= new Date(`${ends}T23:59:59Z`)) return undefined
      return warning(`Node ${host.nodeVersion} gets no corrections since ${ends}`)
    },
  },
]
