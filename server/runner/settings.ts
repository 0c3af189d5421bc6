/** What a builder host says of itself: one TOML file beside the runner, read before every build. */
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'

import { parse as parseToml } from 'smol-toml'
import { z } from 'zod'

import { networkList } from './egress/addresses.ts'

const count = z.number().int().positive()
const network = z.string().refine(
  (text) => {
    try {
      networkList([text])
      return true
    } catch {
      return false
    }
  },
  { error: 'expected an address or a network such as "10.1.0.0/16"' },
)

const schema = z.strictObject({
  /** For the program that starts runners on a builder host (server/builder/settings.ts). */
  server: z.record(z.string(), z.unknown()).optional(),
  /** Where a finished image waits for its way to the server; the build itself sees nothing of it. */
  scratch_dir: z.string().startsWith('/').default(tmpdir()),
  /** A directory whose /usr (with Apptainer in it) the build sees, read-only; by default the host's. */
  root: z.string().startsWith('/').default('/'),
  /** The program inside that root; SingularityCE is called the same way. */
  apptainer: z.string().startsWith('/').default('/usr/bin/apptainer'),
  /**
   * What holds memory, processes and CPU of a build together as a whole. `cgroup`: a control group of
   * its own, and no build without one. `scheduler`: the runner is a job whose scheduler does that.
   * `prlimit`: limits of each process and a watch over their sum, for trying things out.
   */
  limiter: z.enum(['cgroup', 'scheduler', 'prlimit']).default('cgroup'),
  /** Which of the hosts that the server allows this builder reaches; by default all of them. */
  allowed_hosts: z.array(z.string().min(1)).optional(),
  /**
   * Hosts of the site's own, such as its mirror, that may have a private address, as "mirror.example.org"
   * or "mirror.example.org:8080". The address is looked at all the same: never loopback or link-local.
   */
  private_hosts: z.array(z.string().min(1)).default([]),
  /** Private addresses behind which any allowed host may stand. */
  private_networks: z.array(network).default([]),
  /** Upper bounds, whatever the server asks for. */
  limits: z
    .strictObject({
      seconds: count.default(24 * 3600),
      cpus: count.default(64),
      memory_bytes: count.default(2 ** 40),
      processes: count.default(32_768),
      scratch_bytes: count.default(2 ** 40),
      output_bytes: count.default(64 * 2 ** 20),
      image_bytes: count.default(2 ** 40),
    })
    .prefault({}),
})

export interface RunnerSettings {
  readonly scratchDir: string
  readonly root: string
  readonly apptainer: string
  readonly limiter: 'cgroup' | 'scheduler' | 'prlimit'
  readonly allowedHosts: readonly string[] | undefined
  readonly privateHosts: readonly string[]
  readonly privateNetworks: readonly string[]
  readonly limits: BuildLimits
}

/** Of one build. */
export interface BuildLimits {
  readonly seconds: number
  readonly cpus: number
  readonly memoryBytes: number
  readonly processes: number
  /** Of everything that the build writes; it is memory, like the processes'. */
  readonly scratchBytes: number
  readonly outputBytes: number
  readonly imageBytes: number
}

/** Without a file: the defaults. Throws with every mistake in one message. */
export function readRunnerSettings(file: string | undefined): RunnerSettings {
  const parsed = schema.safeParse(file === undefined ? {} : parseToml(readFileSync(file, 'utf8')))
  if (!parsed.success) throw new Error(`${file}: ${z.prettifyError(parsed.error)}`)
  const { data } = parsed
  return {
    scratchDir: data.scratch_dir,
    root: data.root,
    apptainer: data.apptainer,
    limiter: data.limiter,
    allowedHosts: data.allowed_hosts,
    privateHosts: data.private_hosts,
    privateNetworks: data.private_networks,
    limits: {
      seconds: data.limits.seconds,
      cpus: data.limits.cpus,
      memoryBytes: data.limits.memory_bytes,
      processes: data.limits.processes,
      scratchBytes: data.limits.scratch_bytes,
      outputBytes: data.limits.output_bytes,
      imageBytes: data.limits.image_bytes,
    },
  }
}

/** The smaller of what the server allows and what this host allows, limit by limit. */
export function boundLimits(wanted: BuildLimits, most: BuildLimits): BuildLimits {
  const bounded: { -readonly [Name in keyof BuildLimits]: number } = { ...most }
  for (const name of Object.keys(most) as (keyof BuildLimits)[]) {
    bounded[name] = Math.min(wanted[name], most[name])
  }
  return bounded
}
