/**
 * Which accounts of the host a build's processes have, whoever the runner is. Inside they are root
 * and 65,535 others, because packages are unpacked with owners; outside none of them is the runner.
 *
 *   runner is root            a range of 65,536 uids that no other build has, picked for each build
 *   has a range in /etc/subuid that range (all its builds share it; namespaces keep them apart)
 *   neither                   one uid, the runner's own: images with files of other owners fail
 */
import { readFileSync } from 'node:fs'
import { rm, symlink, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'

import { ownMark } from './work-directory.ts'

export interface Identity {
  /** For the report: what the builds' processes are on the host. */
  readonly description: string
  /** How many uids there are inside, from 0 on. */
  readonly count: number
  /** The words before the command that enters the user namespace. */
  readonly enter: readonly string[]
  /** Writes the map of a namespace that is entered without one; `pid` waits for it. */
  map(pid: number): Promise<void>
  release(): Promise<void>
}

const rangeSize = 65_536
/** The uids that systemd keeps for containers (systemd.io/UIDS-GIDS), in ranges of 65,536. */
const containerRanges = { first: 8, last: 28_671 }

/** `scratchDir` has a mark for each range in use, which is what keeps two builds apart. */
export async function takeIdentity(scratchDir: string): Promise<Identity> {
  const { uid, username } = userInfo()
  if (uid === 0) return await takeRange(scratchDir)
  const uids = subordinate('/etc/subuid', username, uid)
  const gids = subordinate('/etc/subgid', username, uid)
  const nothing = async (): Promise<void> => {}
  if (uids === undefined || gids === undefined) {
    return {
      description: `one account, that of the runner (${username}): /etc/subuid has no range for it`,
      count: 1,
      enter: ['unshare', '--user', '--map-root-user'],
      map: nothing,
      release: nothing,
    }
  }
  const count = Math.min(uids.count, gids.count, rangeSize)
  return {
    description: `the subordinate uids of ${username}, ${uids.first} to ${uids.first + count - 1}`,
    count,
    enter: [
      `unshare --user --map-users ${uids.first},0,${count} --map-groups ${gids.first},0,${count}`,
      '--setuid 0 --setgid 0',
    ].flatMap((words) => words.split(' ')),
    map: nothing,
    release: nothing,
  }
}

async function takeRange(scratchDir: string): Promise<Identity> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const spread = containerRanges.last - containerRanges.first + 1
    const range = containerRanges.first + Math.floor(Math.random() * spread)
    const mark = join(scratchDir, `berth-uids-${range}`)
    if (!(await isFirst(mark))) continue
    const first = range * rangeSize
    const map = `0 ${first} ${rangeSize}\n`
    return {
      description: `uids of its own, ${first} to ${first + rangeSize - 1}`,
      count: rangeSize,
      enter: [`setpriv --reuid=${first} --regid=${first} --clear-groups unshare --user`].flatMap(
        (words) => words.split(' '),
      ),
      map: async (pid) => {
        await writeFile(`/proc/${pid}/uid_map`, map)
        await writeFile(`/proc/${pid}/gid_map`, map)
      },
      release: async () => await rm(mark, { force: true }),
    }
  }
  throw new Error(`No range of uids is free: see ${scratchDir}/berth-uids-*`)
}

async function isFirst(mark: string): Promise<boolean> {
  try {
    await symlink(ownMark, mark)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function subordinate(
  file: string,
  name: string,
  uid: number,
): { first: number; count: number } | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
  const lines = text.split('\n').map((line) => line.split(':'))
  const found = lines.find(([who]) => who === name || who === String(uid))
  const [first, count] = [Number(found?.[1]), Number(found?.[2])]
  return Number.isSafeInteger(first) && count > 1 ? { first, count } : undefined
}
