/** How runners are started: the seam between the queue and a host or a batch system. */

export interface JobStart {
  readonly id: string
  readonly arch: string
  readonly limits: JobLimits
  /** Mode 0600; the runner removes it after reading. */
  readonly jobFile: string
}

/** What one build may take. */
export interface JobLimits {
  readonly seconds: number
  readonly cpus: number
  readonly memoryBytes: number
  readonly processes: number
  readonly scratchBytes: number
  readonly outputBytes: number
  readonly imageBytes: number
}

export interface Executor {
  /** Returns what the job is called from now on. Throws when it cannot be started. */
  start(job: JobStart): Promise<string>
  state(handle: string): Promise<'pending' | 'running' | 'gone'>
  /** Why a job waits or has gone, as far as that is known. */
  reason(handle: string): Promise<string>
  /** Returns when no process and no job is left, or throws. */
  cancel(handle: string): Promise<void>
  /** Removes what runners have said of themselves before this many days. */
  removeLogs(days: number): Promise<void>
}
