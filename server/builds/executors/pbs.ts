/**
 * Builds as jobs of the site's PBS (OpenPBS, PBS Professional): qsub, qstat, qdel and qsig, as the
 * account that Berth runs as. A handle is the job's identifier and the build, which stands in the
 * job's name as far as old servers allow.
 */
import type { Executor, JobStart } from '../executor.ts'
import { becomesTrue, complaintOf, jobScript, runCommand, unavailable } from './batch-command.ts'
import type { CommandResult } from './batch-command.ts'
import { RunnerLogs } from './runner-logs.ts'
import type { BatchOptions } from './slurm.ts'

const submitSeconds = 12
const askSeconds = 5
/** qdel sends SIGTERM, and SIGKILL only after the server's kill_delay, which may be long. */
const politeSeconds = 4
const killSeconds = 4
const runnerMiB = 512
const spareSeconds = 900
const MiB = 2 ** 20

/** Letters of qstat(1B): held, moved, queued, in transit, waiting; then ended ones. */
const waiting = ['H', 'M', 'Q', 'T', 'W']
const ended = ['C', 'F', 'X']

export class PbsExecutor implements Executor {
  readonly #options: BatchOptions
  readonly #logs: RunnerLogs

  constructor(options: BatchOptions) {
    this.#options = options
    this.#logs = new RunnerLogs(options.directory)
  }

  async start({ id, limits, jobFile }: JobStart): Promise<string> {
    const memory = Math.ceil((limits.memoryBytes + limits.scratchBytes) / MiB) + runnerMiB
    const args = [
      '-N',
      nameOf(id),
      '-l',
      `select=1:ncpus=${limits.cpus}:mem=${memory}mb`,
      '-l',
      `walltime=${limits.seconds + spareSeconds}`,
      // Not begun anew by PBS: Berth does that, with a token of its own.
      '-r',
      'n',
      '-m',
      'n',
      '-S',
      '/bin/sh',
      '-j',
      'oe',
      '-o',
      this.#logs.pathOf(id),
      ...this.#options.options,
    ]
    const input = jobScript(this.#options.command, jobFile)
    const result = await runCommand('qsub', args, { input, seconds: submitSeconds })
    if (result.status !== 0) throw refused(result)
    const job = result.stdout.trim().split('\n').at(-1) ?? ''
    if (!/^\d[\w.-]*$/.test(job)) throw unavailable(`qsub gave no job identifier but "${job}"`)
    return `${job}:${id}`
  }

  async state(handle: string): Promise<'pending' | 'running' | 'gone'> {
    const letter = (await find(handle)).get('job_state')
    if (letter === undefined || ended.includes(letter)) return 'gone'
    return waiting.includes(letter) ? 'pending' : 'running'
  }

  async reason(handle: string): Promise<string> {
    const facts = await find(handle)
    const letter = facts.get('job_state')
    if (letter === undefined || ended.includes(letter)) {
      return await this.#logs.lastWords(partsOf(handle).id)
    }
    const comment = facts.get('comment') ?? (letter === 'H' ? 'it is held' : 'PBS gives no reason')
    return `its PBS job waits: ${comment}`
  }

  async cancel(handle: string): Promise<void> {
    const isGone = async (): Promise<boolean> => (await this.state(handle)) === 'gone'
    if (await isGone()) return
    const { job } = partsOf(handle)
    const deleted = await runCommand('qdel', [job], { seconds: askSeconds })
    if (await becomesTrue(isGone, politeSeconds)) return
    // It fails where the job has ended meanwhile; what counts is asked for afterwards.
    await runCommand('qsig', ['-s', 'SIGKILL', job], { seconds: askSeconds })
    if (await becomesTrue(isGone, killSeconds)) return
    throw unavailable(`The PBS job ${job} does not end: ${complaintOf(deleted)}`)
  }

  async removeLogs(days: number): Promise<void> {
    await this.#logs.expire(days)
  }
}

/** What `qstat -f` says of the job; empty when PBS does not know it any more. */
async function find(handle: string): Promise<ReadonlyMap<string, string>> {
  const { job, id } = partsOf(handle)
  const result = await runCommand('qstat', ['-f', job], { seconds: askSeconds })
  if (result.status !== 0) {
    if (/Unknown Job|has finished/i.test(result.stderr)) return new Map()
    throw refused(result)
  }
  const facts = factsOf(result.stdout)
  return facts.get('Job_Name') === nameOf(id) ? facts : new Map()
}

/** `    name = value`, where a line that begins with a tab goes on with the value before. */
function factsOf(text: string): Map<string, string> {
  const lines = text.replaceAll('\n\t', '').split('\n')
  const pairs = lines.map((line) => /^\s+([\w.]+) = (.*)$/.exec(line))
  return new Map(pairs.flatMap((pair) => (pair === null ? [] : [[pair[1] ?? '', pair[2] ?? '']])))
}

function partsOf(handle: string): { job: string; id: string } {
  const [job = '', id = ''] = handle.split(':')
  return { job, id }
}

/** Names have 15 characters in old servers, and begin with a letter. */
function nameOf(id: string): string {
  return `berth-${id.slice(-9)}`
}

function refused(result: CommandResult): Error {
  const complaint = complaintOf(result)
  if (/cannot connect to server|Connection refused|No Permission/i.test(result.stderr)) {
    return unavailable(`The PBS server does not answer: ${complaint}`)
  }
  return unavailable(`PBS refuses: ${complaint}`)
}
