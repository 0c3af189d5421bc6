/** `[builder]` of the configuration: whether this site builds, where, and what each build may take. */
import { arch as hostArch } from 'node:process'

import { z } from 'zod'

import { bytes, units } from './size-field.ts'

/** Sources of a first layer that need nothing but what the builder lets in (protocol.md 8). */
const agents = ['library', 'docker', 'oras', 'localimage', 'debootstrap', 'scratch'] as const

/** Node's names of architectures, in Go's. */
const goArchs: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  ppc64: 'ppc64le',
  riscv64: 'riscv64',
  s390x: 's390x',
}

/** Of this host, in Go's words. */
const ownArch = goArchs[hostArch] ?? hostArch

export const builderName = z
  .string()
  .max(64)
  .regex(/^[a-z0-9]+(?:[._-][a-z0-9]+)*$/, 'expected a name')

export const archNames = z
  .array(z.string().regex(/^[a-z0-9]{1,16}$/, 'expected amd64, arm64, …'))
  .min(1)
  .default([ownArch])

const builder = z.strictObject({
  name: builderName,
  /**
   * How runners are started: a process of this host, a job of the site's batch system, or by the
   * program berth-builder on whatever host comes with this builder's token.
   */
  executor: z.enum(['local', 'slurm', 'pbs', 'host']).default('local'),
  /** Go names; of a builder host those that count before it has said its own. */
  archs: archNames,
  /** Builds at the same time; by default 2, and of a builder host as many as it says. */
  slots: z.number().int().min(1).max(1000).optional(),
  /** Where the runner reaches Berth; by default the listener (local) or the public address. */
  server_url: z
    .url({ protocol: /^https?$/ })
    .transform((value) => value.replace(/\/+$/, ''))
    .optional(),
  /** The runner's program and first arguments; by default the one of this installation. */
  runner: z.array(z.string().min(1)).min(1).optional(),
  /** The runner's own configuration on the builder host. */
  runner_config: z.string().min(1).optional(),
  /** A directory that this host and the builder see, for the files that carry the job's token. */
  job_dir: z.string().min(1).optional(),
  /** Where sbatch or qsub and their companions are, when that is not the usual path. */
  /** Further arguments of sbatch or qsub: a partition, an account. */
  options: z.array(z.string().min(1)).default([]),
})

export const builderTable = z
  .strictObject({
    enabled: z.boolean().default(false),
    running_per_user: z.number().int().min(1).max(1000).default(2),
    queued_per_user: z.number().int().min(1).max(10_000).default(20),
    minutes_per_build: z.number().positive().max(10_080).default(120),
    /** What the builds of one account may take together in the period; 0 is no limit. */
    minutes_per_period: z.number().min(0).default(0),
    period_hours: z.number().positive().max(744).default(24),
    agents: z.array(z.string().regex(/^[a-z0-9-]{1,32}$/)).default([...agents]),
    /** Hosts that a build may reach through the proxy, as names or "*.example.org". */
    allowed_hosts: z.array(z.string().min(1)).default([]),
    /** Clients promise a day for images that nobody named. */
    keep_ephemeral_hours: z.number().min(24).max(8760).default(24),
    keep_output_days: z.number().positive().max(3650).default(90),
    max_output: bytes.default(64 * units.MiB),
    max_context: bytes.default(2 * units.GiB),
    cpus: z.number().int().min(1).max(1024).default(2),
    memory: bytes.default(4 * units.GiB),
    processes: z.number().int().min(16).max(1_000_000).default(4096),
    scratch: bytes.default(20 * units.GiB),
    builders: z
      .array(builder)
      .refine(
        (all) => new Set(all.map(({ name }) => name)).size === all.length,
        'two builders have the same name',
      )
      .default([]),
  })
  .prefault({})

export interface BuilderHost {
  readonly name: string
  readonly executor: 'local' | 'slurm' | 'pbs' | 'host'
  readonly archs: readonly string[]
  /** Of a builder host, as the configuration has it, 0: no bound. */
  readonly slots: number
  readonly serverUrl: string | undefined
  readonly runner: readonly string[] | undefined
  readonly runnerConfig: string | undefined
  readonly jobDir: string | undefined
  readonly options: readonly string[]
}

export interface BuilderSettings {
  readonly enabled: boolean
  readonly runningPerUser: number
  readonly queuedPerUser: number
  readonly secondsPerBuild: number
  /** 0: no limit. */
  readonly secondsPerPeriod: number
  readonly periodHours: number
  readonly agents: readonly string[]
  readonly allowedHosts: readonly string[]
  readonly keepEphemeralHours: number
  readonly keepOutputDays: number
  readonly maxOutputBytes: number
  readonly maxContextBytes: number
  readonly cpus: number
  readonly memoryBytes: number
  readonly processes: number
  readonly scratchBytes: number
  readonly builders: readonly BuilderHost[]
}

/** A site that names no builder builds on its own host. */
export function builderSettings(table: z.infer<typeof builderTable>): BuilderSettings {
  const named = table.builders.length > 0 ? table.builders : [builder.parse({ name: 'local' })]
  return {
    enabled: table.enabled,
    runningPerUser: table.running_per_user,
    queuedPerUser: table.queued_per_user,
    secondsPerBuild: Math.ceil(table.minutes_per_build * 60),
    secondsPerPeriod: Math.ceil(table.minutes_per_period * 60),
    periodHours: table.period_hours,
    agents: table.agents,
    allowedHosts: table.allowed_hosts,
    keepEphemeralHours: table.keep_ephemeral_hours,
    keepOutputDays: table.keep_output_days,
    maxOutputBytes: table.max_output,
    maxContextBytes: table.max_context,
    cpus: table.cpus,
    memoryBytes: table.memory,
    processes: table.processes,
    scratchBytes: table.scratch,
    builders: named.map((one) => ({
      name: one.name,
      executor: one.executor,
      archs: one.archs,
      slots: one.slots ?? (one.executor === 'host' ? 0 : 2),
      serverUrl: one.server_url,
      runner: one.runner,
      runnerConfig: one.runner_config,
      jobDir: one.job_dir,
      options: one.options,
    })),
  }
}
