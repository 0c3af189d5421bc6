/**
 * The builders of the site: those of the configuration and the builder hosts that were added, with
 * what keeps each from taking builds at the moment.
 */
import type { BuilderHost, BuilderSettings } from '../builder-settings.ts'
import { Failure } from '../failure.ts'
import type { BuilderHostRow, BuilderHosts } from './builder-hosts.ts'
import type { BuilderRest, BuilderRests } from './builder-rests.ts'
import type { HostPresence } from './host-presence.ts'

export interface KnownBuilder extends BuilderHost {
  /** Why it takes nothing at the moment, for people. */
  readonly unavailable: string | undefined
  /** Its walls did not hold the last time, and may be tried with one build. */
  readonly onProbation: boolean
  /** Of a builder host. */
  readonly host: BuilderHostRow | undefined
  readonly rest: BuilderRest | undefined
}

export interface BuildersParts {
  readonly settings: BuilderSettings
  readonly hosts: BuilderHosts
  readonly rests: BuilderRests
  readonly presence: HostPresence
}

export class Builders {
  readonly #parts: BuildersParts
  /** Builders that could not start a job. */
  readonly #tired = new Map<string, { readonly until: number; readonly reason: string }>()

  constructor(parts: BuildersParts) {
    this.#parts = parts
  }

  /**
   * Those of the configuration first. `heardBy`: who knows which hosts are there: the process that
   * they are connected to, or, for any other, the rows.
   */
  async list(heardBy: 'process' | 'rows' = 'process'): Promise<KnownBuilder[]> {
    const { settings, hosts, rests } = this.#parts
    const [rows, resting] = await Promise.all([hosts.list(), rests.list()])
    const configured = settings.builders.map((one) => ({
      one,
      row: one.executor === 'host' ? rows.find(({ name }) => name === one.name) : undefined,
    }))
    const added = rows
      .filter(({ name }) => settings.builders.every((one) => one.name !== name))
      .map((row) => ({ one: builderOf(row), row }))
    return [...configured, ...added].map(({ one, row }) => {
      const builder = row === undefined ? one : asAnnounced(one, row)
      const rest = resting.find(({ builder }) => builder === one.name)
      return {
        ...builder,
        host: row,
        rest,
        onProbation: rest?.resting === false,
        unavailable: this.#whyNot(builder, row, rest, heardBy),
      }
    })
  }

  /** It could not start a build, and is left alone for so long. */
  tire(name: string, error: unknown, seconds: number): void {
    const reason = error instanceof Failure ? error.message : 'it cannot start builds'
    this.#tired.set(name, { until: performance.now() + seconds * 1000, reason })
  }

  #whyNot(
    { name, executor }: BuilderHost,
    row: BuilderHostRow | undefined,
    rest: BuilderRest | undefined,
    heardBy: 'process' | 'rows',
  ): string | undefined {
    if (executor === 'host') {
      const isHere = heardBy === 'rows' ? row?.silent === false : this.#parts.presence.isHere(name)
      if (!isHere) return silenceOf(name, row)
      if (row?.selfTestAt === null) return `the builder ${name} is testing its walls`
    }
    const tired = this.#tired.get(name)
    const why =
      rest?.resting === true
        ? `its self-test failed: ${rest.reason}`
        : tired !== undefined && tired.until > performance.now()
          ? tired.reason
          : undefined
    return why === undefined ? undefined : `the builder ${name} is not available: ${why}`
  }
}

function silenceOf(name: string, row: BuilderHostRow | undefined): string {
  if (row === undefined) {
    return `the builder ${name} has no token yet: the administrator makes it with "berthctl builder add ${name}"`
  }
  if (row.heardAt === null) return `the builder ${name} has never been heard of`
  return `the builder ${name} has not been heard of since ${row.heardAt.toISOString()}`
}

/** What a host says of itself; the configuration may give it fewer builds at the same time. */
function asAnnounced(one: BuilderHost, row: BuilderHostRow): BuilderHost {
  if (row.heardAt === null) return one
  const slots = one.slots === 0 ? row.slots : Math.min(one.slots, row.slots)
  return { ...one, archs: row.archs, slots }
}

function builderOf({ name }: BuilderHostRow): BuilderHost {
  return {
    name,
    executor: 'host',
    archs: [],
    slots: 0,
    serverUrl: undefined,
    runner: undefined,
    runnerConfig: undefined,
    jobDir: undefined,
    options: [],
  }
}
