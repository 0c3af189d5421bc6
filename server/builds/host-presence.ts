/**
 * The builder hosts that are connected to this process. A host asks, is answered when there is
 * something for it to do or after a while, and asks again: each time it says which runs it has. What
 * is here can be lost, because the next question brings it back.
 */
import { EventEmitter, once } from 'node:events'

import { Failure } from '../failure.ts'

/** A runner on a builder host. */
export interface HostRun {
  /** What the server calls it. */
  readonly run: string
  /** Its build. */
  readonly id: string
  readonly state: 'running' | 'ending' | 'ended'
  /** False when it could not be started. */
  readonly started: boolean
  /** Its last words, or why it was not started. */
  readonly said: string
}

export interface HostReport {
  /** Of this start of the program on the host: two of one name are told apart by it. */
  readonly instance: string
  /** Go names. */
  readonly archs: readonly string[]
  readonly slots: number
  readonly version: string
  readonly runs: readonly HostRun[]
  /** Null before the first has ended; `failure` is null when all walls held. */
  readonly selfTest: { readonly at: Date; readonly failure: string | null } | null
  /** It is being stopped: its runs go on, and it takes no more. */
  readonly leaving: boolean
}

/** A run to start. */
export interface HostOrder {
  readonly run: string
  readonly id: string
  readonly arch: string
  /** Of the job. */
  readonly token: string
}

export interface HostAnswer {
  readonly start: readonly HostOrder[]
  /** Runs to end. */
  readonly cancel: readonly string[]
  /** Runs that have ended, and that nobody asks for any more. */
  readonly forget: readonly string[]
}

/** Seconds. */
export interface HostTimes {
  /** A question is held so long when there is nothing to do. */
  readonly hold: number
  /** Between an answer and the next question; a host that takes longer is away. */
  readonly between: number
  /** For an order until the host has the run. */
  readonly start: number
  /** For the end of a run, which a host enforces in eight. */
  readonly end: number
}

const usual: HostTimes = { hold: 15, between: 5, start: 6, end: 12 }

interface Present {
  report: HostReport
  heardAt: number
  heardOn: Date
  /** When it last came, was answered, or went. */
  seenAt: number
  /** It was answered, and is to come again. */
  awaited: boolean
  /** Ends the question that is held now. */
  held: (() => void) | undefined
  readonly orders: Map<string, HostOrder>
  readonly cancels: Set<string>
}

export class HostPresence {
  readonly #times: HostTimes
  readonly #hosts = new Map<string, Present>()
  readonly #reports = new EventEmitter().setMaxListeners(0)
  readonly #openedAt = performance.now()
  #closed = false

  constructor(times: Partial<HostTimes> = {}) {
    this.#times = { ...usual, ...times }
  }

  /**
   * One question of a host, answered as soon as there is something to do. `unwanted` are runs of the
   * report that no build goes on with. Throws `conflict` while another host of this name is here.
   */
  async exchange(
    name: string,
    report: HostReport,
    unwanted: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<HostAnswer> {
    this.requireOnly(name, report)
    const isNew = this.#hosts.get(name)?.report.instance !== report.instance
    const present = this.#hear(name, report)
    const until = performance.now() + this.#times.hold * 1000
    for (;;) {
      const answer = answerTo(present, report, unwanted)
      const isEmpty = Object.values(answer).every((list: readonly unknown[]) => list.length === 0)
      const rest = until - performance.now()
      const isOver = signal.aborted || this.#closed || rest <= 0 || present.report !== report
      // One that has just come is told at once that it was understood.
      if (!isEmpty || isOver || isNew || report.leaving) {
        if (present.report === report) {
          present.seenAt = performance.now()
          present.awaited = !signal.aborted
        }
        return answer
      }
      await this.#hold(present, rest, signal)
    }
  }

  /** Throws `conflict` while another host of this name is here, or has been here just now. */
  requireOnly(name: string, { instance }: HostReport): void {
    if (this.#closed) throw away('Berth is being stopped or restarted.')
    const known = this.#hosts.get(name)
    if (known === undefined || known.report.instance === instance || known.report.leaving) return
    if (known.held === undefined && !this.#isRecent(known)) return
    throw new Failure(
      'conflict',
      'builder',
      `Another host is connected as the builder ${name}: each needs a name and a token of its own.`,
    )
  }

  #isRecent({ seenAt }: Present): boolean {
    return performance.now() - seenAt < this.#times.between * 1000
  }

  #hear(name: string, report: HostReport): Present {
    const before = this.#hosts.get(name) ?? {
      orders: new Map(),
      cancels: new Set(),
      held: undefined,
    }
    before.held?.()
    const present = Object.assign(before, {
      report,
      heardAt: performance.now(),
      heardOn: new Date(),
      seenAt: performance.now(),
      awaited: false,
      held: undefined,
    })
    this.#hosts.set(name, present)
    this.#reports.emit(reportOf(name))
    return present
  }

  async #hold(present: Present, ms: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        if (present.held === done) present.held = undefined
        resolve()
      }
      const timer = setTimeout(done, ms)
      signal.addEventListener('abort', done, { once: true })
      present.held = done
      if (signal.aborted) done()
    })
  }

  /** Whether it takes builds now: a question of it is held, or has just been answered. */
  isHere(name: string): boolean {
    const present = this.#hosts.get(name)
    if (present === undefined || present.report.leaving) return false
    return present.held !== undefined || (present.awaited && this.#isRecent(present))
  }

  /** The last report; undefined when this process has heard none. */
  lastReport(name: string): { readonly report: HostReport; readonly heardOn: Date } | undefined {
    return this.#hosts.get(name)
  }

  /** Seconds since it was heard, or since this process could have heard it. */
  silentFor(name: string): number {
    return (performance.now() - (this.#hosts.get(name)?.heardAt ?? this.#openedAt)) / 1000
  }

  runOf(name: string, run: string): HostRun | undefined {
    return this.#hosts.get(name)?.report.runs.find((one) => one.run === run)
  }

  /** Resolves when the host has the run, started or not. Throws `unavailable` when it does not take it. */
  async order(name: string, order: HostOrder): Promise<HostRun> {
    const present = this.#hosts.get(name)
    if (present === undefined || !this.isHere(name)) {
      throw away(`The builder ${name} is not connected.`)
    }
    present.orders.set(order.run, order)
    present.held?.()
    try {
      const { start } = this.#times
      await this.#until(name, () => this.runOf(name, order.run) !== undefined, start)
    } finally {
      present.orders.delete(order.run)
    }
    const run = this.runOf(name, order.run)
    if (run === undefined) throw away(`The builder ${name} has not taken the build.`)
    return run
  }

  /** Resolves when the host says that no process of the run is left. Throws `unavailable`. */
  async cancel(name: string, run: string): Promise<void> {
    const present = this.#hosts.get(name)
    if (present === undefined || !this.isHere(name)) {
      throw away(`The builder ${name} is not connected: it ends the build when it comes back.`)
    }
    const isOver = (): boolean => (this.runOf(name, run)?.state ?? 'ended') === 'ended'
    present.cancels.add(run)
    present.held?.()
    try {
      if (await this.#until(name, isOver, this.#times.end)) return
    } finally {
      present.cancels.delete(run)
    }
    throw away(`The builder ${name} does not end the build.`)
  }

  /** Answers all questions, and takes no more: hosts come back to the next process. */
  close(): void {
    this.#closed = true
    for (const { held } of this.#hosts.values()) held?.()
  }

  async #until(name: string, isSo: () => boolean, seconds: number): Promise<boolean> {
    const signal = AbortSignal.timeout(seconds * 1000)
    while (!isSo() && !signal.aborted) {
      await once(this.#reports, reportOf(name), { signal }).catch(() => {})
    }
    return isSo()
  }
}

function answerTo(
  { orders, cancels }: Present,
  { runs, leaving }: HostReport,
  unwanted: ReadonlySet<string>,
): HostAnswer {
  const known = new Set(runs.map(({ run }) => run))
  return {
    start: leaving ? [] : [...orders.values()].filter(({ run }) => !known.has(run)),
    cancel: runs
      .filter(({ run, state }) => state === 'running' && (cancels.has(run) || unwanted.has(run)))
      .map(({ run }) => run),
    forget: runs
      .filter(({ run, state }) => state === 'ended' && unwanted.has(run))
      .map(({ run }) => run),
  }
}

function reportOf(name: string): string {
  return `report of ${name}`
}

function away(message: string): Failure {
  return new Failure('unavailable', 'builder', message)
}
