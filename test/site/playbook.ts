/** Ansible on the site's own terms: an inventory, the playbooks of the tree, SSH. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'
import { run } from './commands.ts'
import { hostNames } from './site.ts'
import type { Site } from './site.ts'

export interface Play {
  readonly status: number | null
  readonly output: string
  /** How many tasks changed something, and how many failed, on all hosts together. */
  readonly changed: number
  readonly failed: number
}

export interface PlayOptions {
  /** Only says what it would do. */
  readonly check?: boolean
  readonly variables?: Readonly<Record<string, unknown>>
}

/** `variables` are those of the role `berth`; the login node's are the same at each call. */
export async function play(
  site: Site,
  playbook: string,
  variables: Readonly<Record<string, unknown>>,
  { check = false, variables: more = {} }: PlayOptions = {},
): Promise<Play> {
  const { directory, ansible } = site.materials
  const home = join(directory, 'ansible')
  mkdirSync(home, { recursive: true })
  const inventory = join(home, 'inventory.yml')
  // YAML has JSON in it.
  writeFileSync(inventory, JSON.stringify(inventoryOf(site, { ...variables, ...more })))
  const source = join(packageRoot, 'ansible')
  const args = [
    '--inventory',
    inventory,
    join(source, playbook),
    ...(check ? ['--check', '--diff'] : []),
  ]
  const { status, stdout, stderr } = await run(join(ansible, 'ansible-playbook'), args, {
    seconds: 400,
    cwd: source,
    env: {
      PATH: `${ansible}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      HOME: home,
      LANG: 'C.UTF-8',
      ANSIBLE_HOME: home,
      ANSIBLE_CONFIG: join(source, 'ansible.cfg'),
      ANSIBLE_NOCOLOR: '1',
      ANSIBLE_HOST_KEY_CHECKING: 'false',
    },
  })
  const output = `${stdout}${stderr}`
  const sum = (word: string): number =>
    [...output.matchAll(new RegExp(`^\\S+ +: .*\\b${word}=(\\d+)`, 'gm'))].reduce(
      (total, [, count]) => total + Number(count),
      0,
    )
  return { status, output, changed: sum('changed'), failed: sum('failed') + sum('unreachable') }
}

/** The tasks that changed something, which is what a second run must not have. */
export function changesOf({ output }: Play): readonly string[] {
  const tasks: string[] = []
  let task = ''
  for (const line of output.split('\n')) {
    const name = /^(?:TASK|RUNNING HANDLER) \[(.*)\]/.exec(line)?.[1]
    if (name !== undefined) task = name
    if (line.startsWith('changed: ')) tasks.push(task)
  }
  return tasks
}

function inventoryOf(site: Site, variables: Readonly<Record<string, unknown>>): object {
  const { hosts, key, materials } = site
  const common = {
    ansible_user: 'root',
    ansible_ssh_private_key_file: key,
    ansible_python_interpreter: '/usr/bin/python3',
    ansible_ssh_common_args: '-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR',
  }
  return {
    all: { vars: common },
    berth_server: {
      hosts: { [hostNames.appliance]: { ansible_host: hosts.appliance.address } },
      vars: variables,
    },
    berth_login_nodes: {
      hosts: { [hostNames.login]: { ansible_host: hosts.login.address } },
      vars: {
        berth_login_tools: materials.loginTools,
        berth_login_authority: join(materials.directory, 'site.pem'),
      },
    },
  }
}
