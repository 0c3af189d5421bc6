/** One host: a bare Debian with a disk of its own, booted by systemd, reached by SSH as any other. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { eventually } from '../support/server.ts'
import { must, run } from './commands.ts'
import type { Outcome } from './commands.ts'
import { makeGroups } from './machine.ts'
import type { Materials } from './site.ts'

export interface Host {
  readonly name: string
  readonly address: string
  /** Its disk, as this machine sees it. */
  readonly root: string
  /** One line of sh as root, to its end. */
  run(line: string, options?: HostRunOptions): Promise<Outcome>
  /** The same, which has to succeed; answers what it prints. */
  must(line: string, options?: HostRunOptions): Promise<string>
  /** As somebody logs in: with a login shell of bash. */
  as(user: string, line: string, options?: HostRunOptions): Promise<Outcome>
  /** The arguments of ssh for the same, for what wants a terminal. */
  ssh(user: string, line: string): readonly string[]
}

interface HostRunOptions {
  readonly input?: string
  readonly seconds?: number
}

export interface HostPlan {
  readonly materials: Materials
  /** Of .ci/site-images. */
  readonly images: string
  readonly key: string
  readonly hostsFile: string
  readonly name: string
  readonly address: string
  readonly devices: readonly string[]
}

export async function bootHost(plan: HostPlan): Promise<Host> {
  const { materials, images, name, address, key } = plan
  const short = name.split('.', 1)[0] ?? name
  const place = join(materials.directory, short)
  const root = join(place, 'root')
  for (const part of ['changes', 'work', 'root']) mkdirSync(join(place, part), { recursive: true })
  const layers = `lowerdir=${images}/base,upperdir=${place}/changes,workdir=${place}/work`
  await must('mount', ['-t', 'overlay', 'overlay', '-o', layers, root])
  await prepare(root, plan)
  await plugIn(short, address)
  const log = join(place, 'console.log')
  boot(plan, short, root, log)

  const host = reach(name, address, root, key)
  const isUp = async (): Promise<boolean> => {
    const { stdout } = await host.run('systemctl is-system-running', { seconds: 10 })
    return /^(?:running|degraded)$/m.test(stdout)
  }
  await eventually(isUp, `${name} has booted`, 90_000).catch((error: Error) => {
    error.message += `\n${readFileSync(log, 'utf8').slice(-4000)}`
    throw error
  })
  return host
}

/** What an installer asks: name, network, who may log in. */
async function prepare(root: string, { name, hostsFile, key }: HostPlan): Promise<void> {
  const put = (path: string, text: string, mode = 0o644): void =>
    writeFileSync(join(root, path), text, { mode })
  put('etc/hostname', `${name}\n`)
  put('etc/hosts', hostsFile)
  mkdirSync(join(root, 'root/.ssh'), { recursive: true, mode: 0o700 })
  put('root/.ssh/authorized_keys', readFileSync(`${key}.pub`, 'utf8'), 0o600)
  mkdirSync(join(root, 'srv/packages'), { recursive: true })
  await must('chroot', [root, 'systemd-machine-id-setup'])
  await must('chroot', [root, 'ssh-keygen', '-A'])
}

async function plugIn(short: string, address: string): Promise<void> {
  await must('ip', ['netns', 'add', short])
  const cable = [
    'link',
    'add',
    `to-${short}`,
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    short,
  ]
  await must('ip', cable)
  await must('ip', ['link', 'set', `to-${short}`, 'master', 'site', 'up'])
  await must('ip', ['-n', short, 'address', 'add', `${address}/24`, 'dev', 'eth0'])
  await must('ip', ['-n', short, 'link', 'set', 'eth0', 'up'])
  await must('ip', ['-n', short, 'link', 'set', 'lo', 'up'])
}

function boot(plan: HostPlan, short: string, root: string, log: string): void {
  const { materials, images, devices, name } = plan
  // A control group of its own, because systemd takes the one that it is started in for all there is.
  const enter = makeGroups(materials.box, short).map((file) => `echo $$ > ${file} && `)
  const args = [
    '--quiet',
    '--boot',
    '--keep-unit',
    '--register=no',
    '--link-journal=no',
    // For rules of the host's own.
    '--capability=CAP_NET_ADMIN',
    '--console=pipe',
    `--directory=${root}`,
    `--machine=${short}`,
    `--hostname=${name}`,
    `--network-namespace-path=/run/netns/${short}`,
    `--bind-ro=${images}/packages:/srv/packages`,
    ...devices.filter((device) => existsSync(device)).map((device) => `--bind=${device}`),
  ]
  const output = openSync(log, 'a')
  const child = spawn('sh', ['-c', `${enter.join('')}exec systemd-nspawn "$@"`, 'sh', ...args], {
    stdio: ['ignore', output, output],
    env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' },
  })
  // It ends with the box.
  child.unref()
}

function reach(name: string, address: string, root: string, key: string): Host {
  const settings =
    'BatchMode=yes StrictHostKeyChecking=no LogLevel=ERROR UserKnownHostsFile=/dev/null ConnectTimeout=5'
  const options = settings.split(' ').flatMap((setting) => ['-o', setting])
  const words = (user: string, line: string): readonly string[] => [
    '-F',
    'none',
    '-i',
    key,
    ...options,
    `${user}@${address}`,
    line,
  ]
  const login = (user: string, line: string): readonly string[] =>
    words(user, shellWords(['bash', '--login', '-c', line]))
  return {
    name,
    address,
    root,
    run: async (line, how) => await run('ssh', words('root', line), how),
    must: async (line, how) => await must('ssh', words('root', line), how),
    as: async (user, line, how) => await run('ssh', login(user, line), how),
    ssh: login,
  }
}

/** Words as sh takes them for words again. */
export function shellWords(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
}
