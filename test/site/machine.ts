/** Whether this machine can boot hosts, and in which control groups. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'

/** What the site in a box calls; Debian's packages systemd-container, iproute2, openssh-client. */
const programs = ['systemd-nspawn', 'unshare', 'ip', 'ssh', 'ssh-keygen', 'mount', 'openssl']

/**
 * Namespaces of which everything in the box is, so that the kernel takes all of it away with the
 * first process: hosts, network, mounts, whatever happens to whom.
 */
export const boxed =
  '--mount --pid --net --uts --ipc --fork --kill-child=SIGKILL --mount-proc --propagation private'.split(
    ' ',
  )

/** Why there can be no site here, or undefined. Programs that are missing throw where CI has to have them. */
export function whyNot(): string | undefined {
  if (process.platform !== 'linux') return 'this is not Linux'
  if (process.getuid?.() !== 0) return 'only root can boot hosts'
  const missing = programs.filter(
    (name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  )
  if (missing.length > 0) {
    const what = `${missing.join(', ')} not installed`
    if (process.env['CI'] === 'true') throw new Error(what)
    return what
  }
  if (!/\toverlay$/m.test(readFileSync('/proc/filesystems', 'utf8')))
    return 'the kernel has no overlayfs'
  const namespaces = spawnSync('unshare', [...boxed, 'true'], { encoding: 'utf8' })
  if (namespaces.status !== 0) return `no namespaces of its own: ${namespaces.stderr.trim()}`
  if (groupRoots().length === 0) return 'no control groups of version 2 are mounted'
  return undefined
}

/** systemd wants version 2; where the machine has version 1 beside it, its name=systemd too. */
function groupRoots(): readonly string[] {
  const root = '/sys/fs/cgroup'
  if (existsSync(join(root, 'cgroup.controllers'))) return [root]
  return ['unified', 'systemd'].map((name) => join(root, name)).filter(existsSync)
}

const prefix = 'berth-site-'

/** Makes a control group for a host, and answers the files that a process writes itself into. */
export function makeGroups(box: string, host: string): readonly string[] {
  return groupRoots().map((root) => {
    const directory = join(root, `${prefix}${box}`, host)
    mkdirSync(directory, { recursive: true })
    return join(directory, 'cgroup.procs')
  })
}

/** Removes the groups of a box whose processes are gone; the kernel refuses any others. */
export function removeGroups(box: string): void {
  for (const root of groupRoots()) removeTree(join(root, `${prefix}${box}`))
}

function removeTree(directory: string): void {
  if (!existsSync(directory)) return
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(directory, entry.name))
  }
  try {
    rmdirSync(directory)
  } catch {
    // Somebody is still in it; the directory is empty otherwise, and takes no memory to speak of.
  }
}
