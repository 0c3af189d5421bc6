/**
 * What this process counts, and what it asks for when somebody looks. Label values are a closed set:
 * templates of addresses, methods, classes and outcomes, and never a name that somebody chose.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

import { auditFailures } from '../accounts/audit.ts'
import type { SignInOutcome } from '../accounts/sign-in.ts'
import type { DatabaseState } from '../database.ts'
import { berthVersion } from '../version.ts'
import { CachedSource } from './source.ts'
import type { MetricSource } from './source.ts'

/** A request that has ended. */
export interface EndedRequest {
  /** As in the code, such as /v1/entities/:entity; undefined where nothing was at the address. */
  readonly route: string | undefined
  readonly method: string
  readonly status: number
  /** False when the connection went before the reply was out. */
  readonly isWhole: boolean
  readonly seconds: number
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
/** From a listing to an image of many GiB. */
const requestSeconds = [0.005, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 300]
const directorySeconds = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10]

export class Meters {
  readonly #registry = new Registry()
  readonly #sources: { readonly cached: CachedSource; readonly gauges: Map<string, Gauge> }[] = []
  readonly #requests = this.#counter('berth_http_requests_total', 'Requests that have ended.', [
    'route',
    'method',
    'status',
  ])
  readonly #durations = new Histogram({
    name: 'berth_http_request_duration_seconds',
    help: 'From the head of a request to the end of its reply.',
    labelNames: ['route', 'method'],
    buckets: requestSeconds,
    registers: [this.#registry],
  })
  readonly #inFlight = this.#gauge(
    'berth_http_requests_in_flight',
    'Requests whose reply is not out.',
  )
  readonly #signIns = this.#counter('berth_sign_ins_total', 'Passwords that were checked.', [
    'outcome',
  ])
  readonly #directory = new Histogram({
    name: 'berth_directory_duration_seconds',
    help: 'What the directory or the portal was asked, by what came of it.',
    labelNames: ['question', 'outcome'],
    buckets: directorySeconds,
    registers: [this.#registry],
  })
  readonly #up = this.#gauge(
    'berth_source_up',
    'Whether what gives the other figures has answered; without an answer those are left out.',
    ['source'],
  )

  #watchesProcess = false

  constructor() {
    const info = this.#gauge('berth_info', 'Always 1; what runs is in the labels.', [
      'version',
      'node',
    ])
    info.set({ version: berthVersion, node: process.version }, 1)
    for (const outcome of ['accepted', 'refused', 'limited', 'unavailable']) {
      this.#signIns.inc({ outcome }, 0)
    }
    this.#read('counter', 'berth_audit_failures_total', 'Audit rows not written.', auditFailures)
  }

  /** What the database's pool says of itself, without asking the database. */
  watchDatabase(state: () => DatabaseState): void {
    const read = (name: string, help: string, value: (state: DatabaseState) => number): void =>
      this.#read(name.endsWith('_total') ? 'counter' : 'gauge', name, help, () => value(state()))
    read('berth_database_connections_in_use', 'Of the pool.', ({ inUse }) => inUse)
    read('berth_database_connections_most', 'Size of the pool.', ({ most }) => most)
    read('berth_database_waiting', 'Work that waits for a connection.', ({ waiting }) => waiting)
    read('berth_database_hangs_total', 'Times it gave no answer.', ({ hangs }) => hangs)
    read('berth_database_hangs', 'It gives no answer now.', ({ isHanging }) => Number(isHanging))
  }

  add(source: MetricSource): void {
    const gauges = new Map(
      source.metrics.map(({ name, help, labels = [] }) => [name, this.#gauge(name, help, labels)]),
    )
    this.#sources.push({ cached: new CachedSource(source), gauges })
  }

  requestBegan(): void {
    this.#inFlight.inc()
  }

  requestEnded({ route = 'none', method, status, isWhole, seconds }: EndedRequest): void {
    this.#inFlight.dec()
    const labels = { route, method: methods.has(method) ? method : 'other' }
    const ending = isWhole ? `${Math.floor(status / 100)}xx` : 'cut'
    this.#requests.inc({ ...labels, status: ending })
    this.#durations.observe(labels, seconds)
  }

  signInEnded(outcome: SignInOutcome): void {
    this.#signIns.inc({ outcome })
  }

  directoryAnswered(question: 'sign-in' | 'standing', outcome: string, seconds: number): void {
    this.#directory.observe({ question, outcome }, seconds)
  }

  /** Event loop, memory, garbage collection, file descriptors: of the process, not of one Berth in it. */
  watchProcess(): void {
    if (this.#watchesProcess) return
    this.#watchesProcess = true
    collectDefaultMetrics({ register: this.#registry })
  }

  /** The text format of Prometheus, within some 2 seconds whatever hangs. */
  async print(): Promise<string> {
    await Promise.all(
      this.#sources.map(async ({ cached, gauges }) => {
        const samples = await cached.look()
        this.#up.set({ source: cached.source.name }, samples === undefined ? 0 : 1)
        for (const { name, labels = [] } of cached.source.metrics) {
          const gauge = gauges.get(name)
          gauge?.reset()
          // Without labels it begins at 0, which would be a figure that nobody has found.
          if (labels.length === 0) gauge?.remove()
        }
        for (const { metric, labels = {}, value } of samples ?? []) {
          gauges.get(metric)?.set(labels, value)
        }
      }),
    )
    return await this.#registry.metrics()
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  #counter(name: string, help: string, labelNames: readonly string[]): Counter {
    return new Counter({ name, help, labelNames: [...labelNames], registers: [this.#registry] })
  }

  #gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return new Gauge({ name, help, labelNames: [...labelNames], registers: [this.#registry] })
  }

  #read(kind: 'counter' | 'gauge', name: string, help: string, value: () => number): void {
    const settings = { name, help, registers: [this.#registry] }
    if (kind === 'gauge') {
      const gauge: Gauge = new Gauge({ ...settings, collect: () => gauge.set(value()) })
      return
    }
    const counter: Counter = new Counter({
      ...settings,
      collect: () => {
        counter.reset()
        counter.inc(value())
      },
    })
  }
}
