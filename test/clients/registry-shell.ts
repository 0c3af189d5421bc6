/**
 * The registry's clients that the host has (skopeo, podman, buildah, oras, curl), used as a person
 * types them, with a home of their own: what they store, configuration and images, ends with the test.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import type { Client } from '../support/client.ts'
import { finish } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'

export interface RegistryShell {
  /** The current directory of every line; `token` in it is the access token of the account. */
  readonly work: string
  /** host:port of the server, what a reference to an image starts with. */
  readonly host: string
  /** The line's output, which must end well. */
  type(line: string): Promise<string>
  /** The same for a line that may fail. */
  attempt(line: string): Promise<Outcome>
}

/** For tests that need a program: false, or why they are skipped. `.ci/run` installs `required` ones. */
export function without(program: string, required = true): false | string {
  if (required && process.env['CI'] === 'true') return false
  const found = spawnSync('sh', ['-c', `command -v ${program}`])
  return found.status === 0 ? false : `${program} is not installed`
}

/** A terminal of a person, who is signed in nowhere yet. */
export function openRegistryShell(t: TestContext, client: Client): RegistryShell {
  const home = mkdtempSync(join(tmpdir(), 'berth-registry-'))
  t.after(() => rmSync(home, { recursive: true, force: true }))
  const work = join(home, 'work')
  for (const directory of [work, join(home, '.config/containers'), join(home, 'run')]) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  }
  writeFileSync(join(work, 'token'), client.credentials?.token ?? '', { mode: 0o600 })
  const policy = JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] })
  writeFileSync(join(home, '.config/containers/policy.json'), policy)
  const signedIn = join(home, 'auth.json')
  writeFileSync(signedIn, '{}', { mode: 0o600 })
  const storage = join(home, 'storage.conf')
  writeFileSync(storage, storageConfig(home))
  const containers = join(home, 'containers.conf')
  writeFileSync(containers, containersConfig)
  const environment = {
    PATH: process.env['PATH'],
    HOME: home,
    XDG_RUNTIME_DIR: join(home, 'run'),
    REGISTRY_AUTH_FILE: signedIn,
    DOCKER_CONFIG: home,
    CONTAINERS_STORAGE_CONF: storage,
    CONTAINERS_CONF: containers,
    BUILDAH_ISOLATION: 'chroot',
  }

  async function attempt(line: string): Promise<Outcome> {
    const script = `cd '${work}' && ${line}`
    return await finish('bash', ['-o', 'pipefail', '-c', script], 60, environment)
  }

  return {
    work,
    host: new URL(client.url).host,
    attempt,
    type: async (line) => {
      const outcome = await attempt(line)
      assert.equal(outcome.status, 0, `${line}\n${outcome.stdout}\n${outcome.stderr}`)
      return outcome.stdout
    },
  }
}

/** No overlay mounts: they need what a container that runs the tests may not have. */
function storageConfig(home: string): string {
  const [root, run] = [join(home, 'images'), join(home, 'run')]
  return `[storage]\ndriver = "vfs"\ngraphroot = "${root}"\nrunroot = "${run}"\n`
}

/** Nothing of the host: no systemd, no journal, no locks in /dev/shm that outlive the test. */
const containersConfig = `
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
`
