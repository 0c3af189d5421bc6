/** One build from its job to its end: sandbox, output, image, and what the server is told. */
import { pipeline } from 'node:stream/promises'

import { insideWorkingDirectory, placeDefinition } from './definition-places.ts'
import { openEgress } from './egress/proxy.ts'
import { receiveImage } from './image-file.ts'
import type { Job } from './job.ts'
import { programDirectory } from './minimal-root.ts'
import { doorPort } from './network-door.ts'
import { openOutputRelay } from './output-relay.ts'
import type { OutputRelay } from './output-relay.ts'
import { openSandbox } from './sandbox.ts'
import type { Sandbox } from './sandbox.ts'
import type { EndState, ServerLink } from './server-link.ts'
import { boundLimits } from './settings.ts'
import type { BuildLimits, RunnerSettings } from './settings.ts'
import { BuilderUnable } from './walls.ts'
import { openWorkDirectory } from './work-directory.ts'
import type { WorkDirectory } from './work-directory.ts'

export interface BuildOptions {
  readonly link: ServerLink
  readonly settings: RunnerSettings
  /** Of the server that the job came from. */
  readonly ca: string | undefined
  /** Aborted when somebody wants the build to end. */
  readonly cancelled: AbortSignal
}

export interface Outcome {
  readonly state: EndState
  readonly reason: string
}

/** Why a build ends before it is done. */
type Stop = { readonly why: 'cancelled' | 'time' } | { readonly why: 'lost'; readonly error: Error }

const door = `127.0.0.1:${doorPort}`
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }
const mostRefusalsSaid = 100

/** Settles when the server knows how it ended. Rejects when the server could not be told. */
export async function runBuild(options: BuildOptions): Promise<Outcome> {
  const { link, settings } = options
  const job = await link.job()
  const limits = boundLimits(job.limits, settings.limits)
  const relay = openOutputRelay(link, limits.outputBytes)
  const stop = new AbortController()
  const clock = setTimeout(() => stop.abort({ why: 'time' } satisfies Stop), limits.seconds * 1000)
  const cancel = (): void => stop.abort({ why: 'cancelled' } satisfies Stop)
  if (options.cancelled.aborted) cancel()
  options.cancelled.addEventListener('abort', cancel)
  void relay.stop.then((why) => {
    if (why === true) cancel()
    else stop.abort({ why: 'lost', error: why } satisfies Stop)
  })
  const work = await openWorkDirectory(settings.scratchDir)
  let outcome: Outcome
  try {
    outcome = await build(job, { ...options, limits, relay, work, stop: stop.signal })
  } catch (error) {
    outcome = stop.signal.aborted
      ? stopped(stop.signal, limits)
      : {
          state: error instanceof BuilderUnable ? 'unable' : 'failed',
          reason: (error as Error).message,
        }
  } finally {
    clearTimeout(clock)
    await work.remove()
  }
  // Of a build that is done elsewhere the server says it, with what becomes of it.
  const isOver = outcome.state === 'failed' || outcome.state === 'cancelled'
  if (isOver) relay.say(`Berth: ${outcome.reason}`)
  await relay.close()
  await link.end(outcome.state, outcome.reason)
  return outcome
}

interface Running extends BuildOptions {
  readonly limits: BuildLimits
  readonly relay: OutputRelay
  readonly work: WorkDirectory
  readonly stop: AbortSignal
}

async function build(job: Job, running: Running): Promise<Outcome> {
  const { link, settings, limits, relay, work, stop } = running
  const own = architectures[process.arch]
  if (job.arch !== own) {
    return { state: 'failed', reason: `This builder makes images for ${own}, not for ${job.arch}.` }
  }
  const sandbox = await openSandbox({
    settings,
    limits,
    workDirectory: work.path,
    name: `berth-build-${job.id}`,
    command: command(job, settings),
    hasContext: typeof job.contextUrl === 'string',
    files: insideFiles(job),
  }).catch((error: Error) => {
    throw new BuilderUnable(error.message, { cause: error })
  })
  void link.wallsHold()
  for (const line of sandbox.report) relay.say(`Berth: ${line}`)
  const egress = openEgress(sandbox.door, {
    lists: [job.allowedHosts, ...(settings.allowedHosts ? [settings.allowedHosts] : [])],
    privateNetworks: settings.privateNetworks,
    privateHosts: settings.privateHosts,
    endpoint: {
      libraryUrl: job.libraryUrl,
      registryUrl: job.registryUrl,
      libraryVia: below(link, job.libraryVia) ?? job.libraryUrl,
      registryVia: below(link, job.registryVia) ?? job.registryUrl,
      pullToken: job.pullToken ?? undefined,
      ca: running.ca,
      inside: `http://${door}`,
    },
    refused: sayOnce(relay),
  })
  const kill = (): void => void sandbox.kill().catch((error: Error) => relay.say(error.message))
  stop.addEventListener('abort', kill)
  if (stop.aborted) kill()
  try {
    const [image, ended] = await Promise.all([
      receiveImage(sandbox.image, work.path, limits.imageBytes),
      sandbox.ended,
      relay.follow(sandbox.output),
      sendContext(job, link, sandbox),
    ])
    if (stop.aborted) return stopped(stop, limits)
    if (ended.exceeded !== undefined) return { state: 'failed', reason: ended.exceeded }
    if (ended.status !== 0) return { state: 'failed', reason: wordsFor(ended.status) }
    if (image.fault !== undefined) return { state: 'failed', reason: image.fault }
    const refusal = await link.putImage(image.read, image.sizeBytes, stop)
    if (refusal !== undefined) return { state: 'failed', reason: refusal }
    return { state: 'succeeded', reason: '' }
  } finally {
    await sandbox.kill()
    egress.close()
  }
}

/** The context goes through to tar inside; nothing of it is on the host's disk. */
async function sendContext(job: Job, link: ServerLink, sandbox: Sandbox): Promise<void> {
  if (typeof job.contextUrl !== 'string') return
  try {
    const context = await link.context(job.contextUrl)
    // tar may end before the last byte; then it has said why.
    await pipeline(context, sandbox.context).catch(() => {})
  } catch (error) {
    await sandbox.kill()
    throw error
  }
}

function stopped(signal: AbortSignal, limits: BuildLimits): Outcome {
  const stop = signal.reason as Stop
  if (stop.why === 'cancelled') return { state: 'cancelled', reason: 'The build was cancelled.' }
  if (stop.why === 'lost') return { state: 'failed', reason: stop.error.message }
  return { state: 'failed', reason: `The build took longer than its ${limits.seconds} seconds.` }
}

function wordsFor(status: number): string {
  return status === 137
    ? 'The build was killed: it went over its memory, its processes or another limit.'
    : `The build failed with status ${status}; its output says why.`
}

function sayOnce(relay: OutputRelay): (what: string) => void {
  const said = new Set<string>()
  return (what) => {
    if (said.has(what) || said.size >= mostRefusalsSaid) return
    said.add(what)
    relay.say(`Berth: the network of the build: ${what}`)
  }
}

function below(link: ServerLink, path: string | null | undefined): string | undefined {
  return typeof path === 'string' ? new URL(path, `${link.address}/`).href : undefined
}

function insideFiles(job: Job): Map<string, string> {
  const definition = placeDefinition(job.definition, {
    workingDir: job.workingDir ?? '/',
    registryHost: new URL(job.registryUrl).host,
    libraryUrl: job.libraryUrl.replace(/\/+$/, ''),
    door,
  })
  const remote = `Active: site\nRemotes:\n  site:\n    URI: http://${door}\n    Insecure: true\n`
  const registries = `[[registry]]\nlocation = "${door}"\ninsecure = true\n`
  return new Map([
    [`${programDirectory}/debootstrap`, debootstrap],
    ['/.berth/definition', definition],
    ['/.berth/remote.yaml', remote],
    ['/etc/containers/registries.conf', registries],
    ['/etc/containers/policy.json', '{"default":[{"type":"insecureAcceptAnything"}]}\n'],
  ])
}

/** It wants devices, which no user namespace can make; fakeroot lets it believe that it has them. */
const debootstrap = `#!/bin/sh
PATH=$(echo "$PATH" | sed 's|${programDirectory}:||')
exec fakeroot debootstrap "$@"
`

/** The shell script that is the build, in a sandbox whose walls have been proven. */
function command(job: Job, settings: RunnerSettings): string {
  const proxies = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY']
  const variables = {
    ...Object.fromEntries(proxies.map((variable) => [variable, `http://${door}`])),
    no_proxy: '127.0.0.1,localhost',
    NO_PROXY: '127.0.0.1,localhost',
    ...Object.fromEntries(
      ['APPTAINER', 'SINGULARITY'].flatMap((program) => [
        [`${program}_TMPDIR`, '/build/tmp'],
        [`${program}_CACHEDIR`, '/build/cache'],
      ]),
    ),
  }
  const directory = quote(insideWorkingDirectory(job.workingDir ?? '/'))
  return [
    'set -eu',
    'umask 022',
    'for program in apptainer singularity; do',
    '  mkdir -p "$HOME/.$program"',
    '  cp /.berth/remote.yaml "$HOME/.$program/remote.yaml"',
    '  chmod 600 "$HOME/.$program/remote.yaml"',
    'done',
    `export PATH=${programDirectory}:"$PATH"`,
    `mkdir -p ${directory}`,
    `cd ${directory}`,
    ...Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}`),
    `exec ${[quote(settings.apptainer), 'build', ...needsPlainHttp(job)].join(' ')} /build/image.sif /.berth/definition`,
    '',
  ].join('\n')
}

/** The door speaks no TLS; other registries keep theirs, as far as one definition can have both. */
function needsPlainHttp(job: Job): string[] {
  const host = new URL(job.registryUrl).host
  return job.definition.toLowerCase().includes(host) ? ['--no-https'] : []
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
