/**
 * The sandbox of one build: a process tree in namespaces of its own, started by bubblewrap, of which
 * the runner holds the ends of a few pipes and one socket. No directory of the host can be written
 * from inside; what comes out are bytes: the output and the image.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

import { packageRoot } from '../package-root.ts'
import { holdProcess } from './first-process.ts'
import type { FirstProcess } from './first-process.ts'
import { takeIdentity } from './identity.ts'
import type { Identity } from './identity.ts'
import { openLimiter, processLimits } from './limits/limiter.ts'
import type { Limiter } from './limits/limiter.ts'
import { etcFiles, mountArguments } from './minimal-root.ts'
import { openNetworkDoor } from './network-door.ts'
import type { NetworkDoor } from './network-door.ts'
import type { BuildLimits, RunnerSettings } from './settings.ts'
import { systemCallFilter } from './system-call-filter.ts'
import { inspectFromOutside, openCanaries, WallBroken } from './walls.ts'
import type { Canaries } from './walls.ts'

export interface SandboxOptions {
  readonly settings: RunnerSettings
  /** For the canary: a directory of the host that everybody may look into. */
  readonly workDirectory: string
  readonly limits: BuildLimits
  /** Names the control group; letters, digits and dashes. */
  readonly name: string
  /** A shell script that is the build. It may leave /build/image.sif. */
  readonly command: string
  /** Further files by their path inside, read-only; below /.berth or /etc. */
  readonly files?: ReadonlyMap<string, string>
  /** Whether a tar.gz comes by `context`, to be unpacked into /build/context. */
  readonly hasContext?: boolean
}

export interface Sandbox {
  /** The first process in there, by its number on the host. */
  readonly pid: number
  /** What each wall is made of here. */
  readonly report: readonly string[]
  /** Standard output and error of everything in there. */
  readonly output: Readable
  /** The image, when the build has left one. */
  readonly image: Readable
  /** The context goes in here; closed at once when there is none. */
  readonly context: Writable
  /** Listens on 127.0.0.1:3128 inside; whoever accepts here is the build's whole network. */
  readonly door: NetworkDoor
  /** The exit status of the build, 128 + n after signal n, and why it was stopped, if it was. */
  readonly ended: Promise<{ readonly status: number; readonly exceeded?: string | undefined }>
  /** Kills everything in there; settles when nothing is left. */
  kill(): Promise<void>
}

/** The descriptors that the runner and the sandbox share. */
const descriptor = { image: 3, holds: 4, go: 5, block: 6, info: 7, filter: 8, files: 9 }
const startDeadlineMs = 30_000
const killDeadlineMs = 5000

/** Starts a sandbox and proves its walls. Throws WallBroken when one does not hold. */
export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  const { settings, limits } = options
  const closing: (() => Promise<void>)[] = []
  const close = async (): Promise<void> => {
    for (const step of closing.splice(0).toReversed()) await step()
  }
  try {
    const identity = await takeIdentity(settings.scratchDir)
    closing.push(async () => await identity.release())
    const limiter = await openLimiter(settings, limits, options.name)
    closing.push(async () => await limiter.close())
    const canaries = await openCanaries(options.workDirectory)
    closing.push(async () => await canaries.close())
    return await start(options, { identity, limiter, canaries, close })
  } catch (error) {
    await close()
    throw error
  }
}

interface Parts {
  readonly identity: Identity
  readonly limiter: Limiter
  readonly canaries: Canaries
  close(): Promise<void>
}

async function start(options: SandboxOptions, parts: Parts): Promise<Sandbox> {
  const { identity, limiter, canaries } = parts
  const files = insideFiles(options, parts)
  const child = spawnWaiting(options, parts, files)
  // Every descriptor is a socket pair, open in both directions as far as Node is concerned.
  const pipe = (number: number): Readable & Writable =>
    child.stdio[number] as unknown as Readable & Writable
  const exited = new Promise<number>((resolve) => {
    child.on('error', () => resolve(128))
    child.on('exit', (status) => resolve(status ?? 137))
  })
  // Node throws away what nobody has begun to read when a process ends.
  const read = (number: number): Readable => pipe(number).pipe(new PassThrough())
  const [output, errors, image] = [read(1), read(2), read(descriptor.image)]
  const [holds, info] = [read(descriptor.holds), read(descriptor.info)]
  // A pipe whose other end is gone says so by an error; what counts is how the process ended.
  for (const stream of child.stdio) stream?.on('error', () => {})

  let first: FirstProcess | undefined
  async function kill(): Promise<void> {
    await limiter.kill()
    await first?.kill()
    child.kill('SIGKILL')
    await exited
    if ((await first?.gone(killDeadlineMs)) === false) {
      throw new Error(`process ${first?.pid} of a build outlives its end`)
    }
  }

  try {
    if (child.pid === undefined) throw new Error(`${child.spawnfile} cannot be started`)
    await entersUserNamespace(child.pid)
    await identity.map(child.pid)
    await limiter.take(child.pid)
    pipe(descriptor.go).end('go\n')
    pipe(descriptor.filter).end(systemCallFilter())
    let number = descriptor.files
    for (const content of files.values()) pipe(number++).end(content)
    const said = await readUntil(info, '}')
    const pid = Number(/"child-pid": *(\d+)/.exec(said)?.[1])
    if (!(pid > 0))
      throw new Error(`bubblewrap does not start: ${await whatWasSaid(output, errors)}`)
    first = await holdProcess(pid)
    await inspectFromOutside(pid)
    const door = await openNetworkDoor(pid, canaries).catch((error: Error) => {
      throw new WallBroken(error.message)
    })
    pipe(descriptor.block).end('go\n')
    if (options.hasContext !== true) pipe(0).end()
    const verdict = (await readUntil(holds, '\n')).trim()
    if (verdict !== 'the walls hold') {
      door.close()
      throw new WallBroken(verdict === '' ? await whatWasSaid(output, errors) : verdict)
    }
    // They have served; the build itself sees none.
    await canaries.close()

    let exceeded: string | undefined
    void limiter.exceeded.then(async (reason) => {
      exceeded = reason
      if (reason !== undefined) await kill()
    })
    return {
      pid,
      report: describeWalls(options, parts),
      output,
      image,
      context: pipe(0),
      door,
      ended: exited.then(async (status) => {
        door.close()
        await kill()
        await parts.close()
        return { status, exceeded }
      }),
      kill,
    }
  } catch (error) {
    await kill()
    throw error
  }
}

/** The files that are made inside, of their content. */
function insideFiles(options: SandboxOptions, parts: Parts): Map<string, string> {
  const script = (name: string): string =>
    readFileSync(join(packageRoot, 'server/runner/inside', `${name}.sh`), 'utf8')
  return new Map([
    ...etcFiles(parts.identity.count, options.settings.apptainer),
    ['/.berth/supervise', script('supervise')],
    ['/.berth/build', script('build')],
    ['/.berth/canary', parts.canaries.file],
    ['/.berth/command', options.command],
    ...(options.hasContext === true ? ([['/.berth/with-context', '']] as const) : []),
    ...(options.files ?? []),
  ])
}

/**
 * Bash, because it closes descriptors of any number: those that the runner itself has inherited from
 * whatever started it would otherwise be the build's too.
 */
const waiting = `
  exec 2>&1
  last=$1
  shift
  for descriptor in /proc/self/fd/*; do
    number=\${descriptor##*/}
    if [ "$number" -gt "$last" ]; then eval "exec $number>&-"; fi
  done
  read -r go <&${descriptor.go} || exit 96
  exec ${descriptor.go}<&-
  exec "$@"`

/** The chain up to bubblewrap, waiting for the word to go on before it starts anything. */
function spawnWaiting(
  options: SandboxOptions,
  { identity, canaries }: Parts,
  files: ReadonlyMap<string, string>,
): ChildProcess {
  const { settings, limits } = options
  const fd = (name: keyof typeof descriptor): string => String(descriptor[name])
  const bwrap = [
    'bwrap --die-with-parent --new-session --hostname build'.split(' '),
    '--unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try'.split(' '),
    ['--info-fd', fd('info'), '--block-fd', fd('block'), '--seccomp', fd('filter')],
    mountArguments(settings.root, limits, files, descriptor.files),
    ['--clearenv', '--setenv', 'PATH', '/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin'],
    ['--setenv', 'HOME', '/build/home', '--chdir', '/build'],
    ['sh', '/.berth/supervise', String(identity.count), ...processLimits(limits)],
  ].flat()
  const last = descriptor.files + files.size - 1
  const [command = '', ...args] = [
    ...identity.enter,
    'bash',
    '-c',
    waiting,
    'bash',
    String(last),
    ...bwrap,
  ]
  return spawn(command, args, {
    cwd: '/',
    env: {
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin',
      ...canaries.environment,
    },
    stdio: Array.from({ length: last + 1 }, () => 'pipe' as const),
  })
}

/** Before the chain has a user namespace of its own, no map can be written. */
async function entersUserNamespace(pid: number): Promise<void> {
  const own = await readlink('/proc/self/ns/user')
  const deadline = Date.now() + startDeadlineMs
  while ((await readlink(`/proc/${pid}/ns/user`).catch(() => undefined)) === own) {
    if (Date.now() > deadline) throw new Error('no user namespace can be made on this host')
    await delay(2)
  }
}

/** What comes by a pipe up to and with `end`, or up to its close or the deadline. */
async function readUntil(stream: Readable, end: string): Promise<string> {
  let read = ''
  return await new Promise((resolve) => {
    const clock = setTimeout(finish, startDeadlineMs)
    function finish(): void {
      clearTimeout(clock)
      stream.destroy()
      resolve(read)
    }
    stream.on('data', (chunk: Buffer) => {
      read += chunk.toString()
      if (read.includes(end)) finish()
    })
    stream.on('close', finish)
  })
}

/** Of a chain that ended before it was a sandbox. */
async function whatWasSaid(...streams: Readable[]): Promise<string> {
  const texts = await Promise.all(streams.map(async (stream) => await readUntil(stream, '\n\n')))
  return texts.join('').trim().slice(0, 2000)
}

function describeWalls(options: SandboxOptions, { identity, limiter }: Parts): string[] {
  const { limits, settings } = options
  return [
    `account: ${identity.description}`,
    'namespaces: user (twice: the mounts are locked), mount, PID, network, IPC, UTS',
    `files: ${settings.root === '/' ? '/usr of the host' : `/usr of ${settings.root}`}, read-only; /build in memory, ${limits.scratchBytes} bytes`,
    'system calls: filtered (seccomp); no new privileges',
    `limits: ${limiter.description}`,
    'network: loopback only; one door to the filtering proxy',
  ]
}
