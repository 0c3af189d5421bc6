/** The wiring of the remote builder, from the parts of the appliance. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'

import type { Actor } from './accounts/actor.ts'
import type { Tokens } from './accounts/tokens.ts'
import type { Agent } from './build-api/routes.ts'
import type { BuilderHost } from './builder-settings.ts'
import { listActive } from './builds/build-rows.ts'
import { BuilderHosts } from './builds/builder-hosts.ts'
import { BuilderRests } from './builds/builder-rests.ts'
import { Builders } from './builds/builders.ts'
import type { KnownBuilder } from './builds/builders.ts'
import { Builds } from './builds/builds.ts'
import { BuildContexts } from './builds/contexts.ts'
import { BuildEnding } from './builds/ending.ts'
import type { Executor } from './builds/executor.ts'
import { HostExecutor } from './builds/executors/host.ts'
import { LocalExecutor } from './builds/executors/local.ts'
import { PbsExecutor } from './builds/executors/pbs.ts'
import { SlurmExecutor } from './builds/executors/slurm.ts'
import { expireBuilds } from './builds/expiry.ts'
import type { ExpiryResult } from './builds/expiry.ts'
import { HostPresence } from './builds/host-presence.ts'
import { JobFiles } from './builds/job-files.ts'
import { Jobs } from './builds/jobs.ts'
import { OutputFiles } from './builds/output-files.ts'
import { BuildOutput } from './builds/output.ts'
import { viewQueue } from './builds/queue-view.ts'
import type { QueueView } from './builds/queue-view.ts'
import { BuildQueue, usualQueueTimes } from './builds/queue.ts'
import type { QueueTimes } from './builds/queue.ts'
import { BuildSignals } from './builds/signals.ts'
import { BuildSources } from './builds/sources.ts'
import type { Config } from './config.ts'
import type { Artifacts } from './content/artifacts.ts'
import type { BlobUploads } from './content/blob-uploads.ts'
import { BuiltImages } from './content/built-images.ts'
import type { Digest } from './content/names.ts'
import type { Registry } from './content/registry.ts'
import type { Uploads } from './content/uploads.ts'
import type { Database } from './database.ts'
import type { Log } from './log.ts'
import { packageRoot } from './package-root.ts'

export interface BuilderParts {
  readonly builds: Builds
  readonly jobs: Jobs
  readonly contexts: BuildContexts
  readonly output: BuildOutput
  readonly signals: BuildSignals
  readonly queue: BuildQueue
  readonly builders: Builders
  readonly hosts: BuilderHosts
  /** Lets go of the builder hosts that are connected; they come back to the next process. */
  readonly release: () => void
  readonly agents: () => Promise<readonly Agent[]>
  readonly viewQueue: (actor: Actor) => Promise<QueueView>
  readonly expire: () => Promise<ExpiryResult>
}

export interface BuilderNeeds {
  readonly config: Config
  readonly log: Log
  readonly database: Database
  readonly registry: Registry
  readonly artifacts: Artifacts
  readonly uploads: Uploads
  readonly blobUploads: BlobUploads
  readonly tokens: Tokens
  readonly imageArrived: (digest: Digest) => Promise<unknown>
  readonly queueTimes?: Partial<QueueTimes> | undefined
}

export function assembleBuilder(needs: BuilderNeeds): BuilderParts {
  const { config, log, database, registry, uploads, blobUploads, tokens } = needs
  const { builder: settings, services } = config
  const directory = join(config.dataDir, 'builds')
  const defaults = {
    entity: config.library.defaultEntity,
    collection: config.library.defaultCollection,
  }
  const signals = new BuildSignals()
  const files = new OutputFiles(join(directory, 'output'))
  const output = new BuildOutput(database, files, signals, settings.maxOutputBytes)
  const ending = new BuildEnding(database, output, tokens, signals)
  const contexts = new BuildContexts(database, join(directory, 'contexts'), {
    maxBytes: settings.maxContextBytes,
  })
  const serverUrlOf = (host: BuilderHost): string => host.serverUrl ?? defaultUrl(config, host)
  const times = { ...usualQueueTimes, ...needs.queueTimes }
  // A host that waits for an answer is not silent.
  const presence = new HostPresence({ hold: Math.min(15, times.lost / 2) })
  const rests = new BuilderRests(database)
  const wake = (): void => queue.wake()
  const hosts = new BuilderHosts({ database, settings, presence, rests, wake })
  const builders = new Builders({ settings, hosts, rests, presence })
  const executors = new Map<string, Executor>()
  for (const one of settings.builders) {
    const executor = configuredExecutor(one, directory)
    if (executor !== undefined) executors.set(one.name, executor)
  }
  const queue = new BuildQueue({
    database,
    log,
    settings,
    builders,
    rests,
    executorOf: ({ name }) => executors.get(name) ?? new HostExecutor(name, presence, times.lost),
    jobFiles: new JobFiles({ directory: join(directory, 'jobs'), serverUrl: serverUrlOf }),
    output,
    ending,
    signals,
    times,
  })
  const builds = new Builds({
    builders: async () => await builders.list(),
    database,
    registry,
    contexts,
    ending,
    files,
    signals,
    settings,
    defaults,
    sources: new BuildSources({
      registry,
      artifacts: needs.artifacts,
      defaults,
      allowedHosts: settings.allowedHosts,
      own: {
        library: new URL(services.library).host,
        registry: new URL(services.registry).host,
      },
    }),
    libraryUrls: [...new Set([services.library, config.publicUrl])],
    jobWaits: (id) => queue.jobWaits(id),
    wake,
  })
  const jobs = new Jobs({
    rests,
    wallRestSeconds: times.wallRest,
    wake,
    database,
    registry,
    builtImages: new BuiltImages(registry, uploads, blobUploads),
    contexts,
    output,
    ending,
    tokens,
    signals,
    settings,
    defaults,
    maxImageBytes: config.library.maxImageBytes,
    imageArrived: needs.imageArrived,
  })
  const openedAt = new Date()
  return {
    builds,
    jobs,
    contexts,
    output,
    signals,
    queue,
    builders,
    hosts,
    release: () => presence.close(),
    agents: async () => agentsOf(await builders.list(), await listActive(database), openedAt),
    viewQueue: async (actor) =>
      await viewQueue(actor, {
        database,
        periodHours: settings.periodHours,
        builders: async () => await builders.list(),
      }),
    expire: async () => {
      for (const executor of executors.values()) await executor.removeLogs(settings.keepOutputDays)
      return await expireBuilds({
        database,
        registry,
        contexts,
        files,
        defaults,
        keepEphemeralHours: settings.keepEphemeralHours,
        keepOutputDays: settings.keepOutputDays,
      })
    },
  }
}

/** Undefined for builder hosts, which start their runners themselves. */
function configuredExecutor(host: BuilderHost, directory: string): Executor | undefined {
  if (host.executor === 'host') return undefined
  const program = host.runner ?? [
    process.execPath,
    '--enable-source-maps',
    join(packageRoot, 'dist/server/runner/main.js'),
  ]
  const settings = host.runnerConfig === undefined ? [] : ['--config', host.runnerConfig]
  const command = [...program, ...settings]
  if (host.executor === 'local') return new LocalExecutor(command, join(directory, 'logs'))
  const { options, jobDir = join(directory, 'jobs') } = host
  const batch = { command, options, directory: jobDir }
  return host.executor === 'slurm' ? new SlurmExecutor(batch) : new PbsExecutor(batch)
}

/** On this host the listener itself, if it speaks plain HTTP: no proxy and no name are needed. */
function defaultUrl(config: Config, host: BuilderHost): string {
  if (host.executor !== 'local' || config.tls || 'path' in config.listen) return config.publicUrl
  const { host: address, port } = config.listen
  const own = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  return `http://${own.includes(':') ? `[${own}]` : own}:${port}`
}

/** One for each slot: what the enterprise interface calls an agent. */
function agentsOf(
  hosts: readonly KnownBuilder[],
  active: readonly { readonly id: string; readonly builder: string }[],
  openedAt: Date,
): Agent[] {
  return hosts.flatMap((host) => {
    const builds = active.filter(({ builder }) => builder === host.name)
    return Array.from({ length: host.slots }, (_, slot) => ({
      id: createHash('sha256').update(`${host.name} ${slot}`).digest('hex').slice(0, 24),
      queue: host.archs.join(','),
      addedAt: host.host?.addedAt ?? openedAt,
      taskId: builds[slot]?.id ?? '',
    }))
  })
}
