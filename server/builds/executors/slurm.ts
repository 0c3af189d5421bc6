/**
 * Builds as jobs of the site's Slurm: sbatch, squeue and scancel, as the account that Berth runs as. A
 * handle is the job's number, the build, and the cluster where `options` names one. The build stands
 * in the job's name: a number alone could be another job's when Slurm has begun to count anew.
 */
import type { Executor, JobStart } from '../executor.ts'
import { becomesTrue, complaintOf, jobScript, runCommand, unavailable } from './batch-command.ts'
import type { CommandResult } from './batch-command.ts'
import { RunnerLogs } from './runner-logs.ts'

export interface BatchOptions {
  /** The runner's program and first arguments, on the nodes. */
  readonly command: readonly string[]
  /** Further arguments of the command that submits. */
  readonly options: readonly string[]
  /** A directory that the nodes see, for what runners say. */
  readonly directory: string
}

/** Slurm's own commands try for 9 to 18 seconds to reach a controller that is not there. */
const submitSeconds = 12
const askSeconds = 5
/** A job that was told to end ends by itself in this time, or is killed. */
const politeSeconds = 4
const killSeconds = 3
/** For the runner itself, beside the build. */
const runnerMiB = 512
/** For what comes before and after a build within its own time: the push of the image. */
const spareMinutes = 15
const MiB = 2 ** 20

/** Job states of squeue(1) in which a job has no process and gets none. */
const endedStates: Readonly<Record<string, string>> = {
  BOOT_FAIL: 'the node of its Slurm job did not boot',
  CANCELLED: 'its Slurm job was cancelled',
  COMPLETED: '',
  DEADLINE: 'its Slurm job missed its deadline',
  FAILED: '',
  NODE_FAIL: 'the node of its Slurm job failed',
  OUT_OF_MEMORY: 'its Slurm job took more memory than it had asked for',
  PREEMPTED: 'its Slurm job had to make room for another one',
  REVOKED: 'its Slurm job was revoked',
  TIMEOUT: 'its Slurm job reached its time limit',
}
const waitingStates = ['PENDING', 'CONFIGURING', 'REQUEUED', 'REQUEUE_FED', 'REQUEUE_HOLD']

/** Reasons of squeue(1), by how they begin, where the word alone says little to people. */
const waitReasons: readonly (readonly [string, string])[] = [
  ['Resources', 'it waits for a free node'],
  ['Priority', 'other jobs come before it'],
  ['ReqNodeNotAvail', 'the nodes that may build are not available'],
  ['Nodes_required', 'the nodes that may build are down or reserved'],
  ['PartitionDown', 'the partition is down'],
  ['PartitionInactive', 'the partition is not active'],
  [
    'PartitionTimeLimit',
    'a build may take longer than the partition allows: tell the administrator',
  ],
  ['PartitionNodeLimit', 'the partition does not allow it: tell the administrator'],
  ['JobHeld', 'it is held by the administrator'],
  ['QOS', 'a limit of the quality of service is reached'],
  ['Assoc', 'a limit of the account in Slurm is reached'],
  ['Reservation', 'its reservation has not begun'],
  ['BeginTime', 'its time has not come'],
  ['None', 'Slurm has not looked at it yet'],
]

interface Job {
  /** A word of squeue(1); undefined when Slurm has forgotten it. */
  readonly state: string | undefined
  readonly why: string
}

const unknownJob: Job = { state: undefined, why: '' }

export class SlurmExecutor implements Executor {
  readonly #options: BatchOptions
  readonly #logs: RunnerLogs

  constructor(options: BatchOptions) {
    this.#options = options
    this.#logs = new RunnerLogs(options.directory)
  }

  async start({ id, limits, jobFile }: JobStart): Promise<string> {
    // One whose submission was not answered would run beside this one.
    const cluster = this.#options.options.filter((option) => option.startsWith('--clusters='))
    const old = [`--name=${nameOf(id)}`, ...cluster]
    const swept = await runCommand('scancel', old, { seconds: askSeconds })
    if (swept.status !== 0) throw refused(swept)
    const memory = limits.memoryBytes + limits.scratchBytes
    const args = [
      '--parsable',
      `--job-name=${nameOf(id)}`,
      '--nodes=1',
      '--ntasks=1',
      `--cpus-per-task=${limits.cpus}`,
      // Scratch is memory.
      `--mem=${Math.ceil(memory / MiB) + runnerMiB}M`,
      `--time=${Math.ceil(limits.seconds / 60) + spareMinutes}`,
      '--no-requeue',
      '--export=NONE',
      '--chdir=/',
      '--input=/dev/null',
      `--output=${this.#logs.pathOf(id).replaceAll('%', '%%')}`,
      '--open-mode=append',
      ...this.#options.options,
    ]
    const input = jobScript(this.#options.command, jobFile)
    const result = await runCommand('sbatch', args, { input, seconds: submitSeconds })
    if (result.status !== 0) throw refused(result)
    const line = result.stdout.trim().split('\n').at(-1) ?? ''
    const [number = '', where = ''] = line.split(';')
    if (!/^\d+$/.test(number)) throw unavailable(`sbatch gave no job number but "${line}"`)
    return [number, id, where].join(':')
  }

  async state(handle: string): Promise<'pending' | 'running' | 'gone'> {
    const { state } = await find(handle)
    if (state === undefined || state in endedStates) return 'gone'
    return waitingStates.includes(state) ? 'pending' : 'running'
  }

  async reason(handle: string): Promise<string> {
    const { state, why } = await find(handle)
    const ended = state === undefined ? '' : endedStates[state]
    if (ended === undefined) return `its Slurm job waits: ${waitReason(why)}`
    return ended === '' ? await this.#logs.lastWords(partsOf(handle).id) : ended
  }

  async cancel(handle: string): Promise<void> {
    const isGone = async (): Promise<boolean> => (await this.state(handle)) === 'gone'
    if (await isGone()) return
    // One that waits has nothing to end; one that begins at this moment is left to what follows.
    await scancel(handle, ['--state=PENDING'])
    if (await isGone()) return
    // The batch step is the runner, which ends its build in order.
    await scancel(handle, ['--batch', '--signal=TERM'])
    if (await becomesTrue(isGone, politeSeconds)) return
    // At once, with all processes: a plain scancel would wait for Slurm's KillWait before.
    await scancel(handle, ['--batch', '--full', '--signal=KILL'])
    if (await becomesTrue(isGone, killSeconds)) return
    const last = await scancel(handle, [])
    if (await becomesTrue(isGone, killSeconds)) return
    throw unavailable(`The Slurm job ${partsOf(handle).number} does not end: ${complaintOf(last)}`)
  }

  async removeLogs(days: number): Promise<void> {
    await this.#logs.expire(days)
  }
}

async function find(handle: string): Promise<Job> {
  const { number, id, cluster } = partsOf(handle)
  const which = ['--noheader', '--states=all', `--jobs=${number}`, '--format=%T|%j|%r']
  const result = await runCommand('squeue', [...which, ...cluster], { seconds: askSeconds })
  if (result.status !== 0) {
    if (result.stderr.includes('Invalid job id')) return unknownJob
    throw refused(result)
  }
  // With a cluster, a line with its name comes first.
  const line = result.stdout.trim().split('\n').at(-1) ?? ''
  const [state, name, ...why] = line.split('|')
  return name === nameOf(id) ? { state, why: why.join('|') } : unknownJob
}

async function scancel(handle: string, how: readonly string[]): Promise<CommandResult> {
  const { number, cluster } = partsOf(handle)
  return await runCommand('scancel', [...how, ...cluster, number], { seconds: askSeconds })
}

function partsOf(handle: string): { number: string; id: string; cluster: string[] } {
  const [number = '', id = '', cluster = ''] = handle.split(':')
  return { number, id, cluster: cluster === '' ? [] : [`--clusters=${cluster}`] }
}

function nameOf(id: string): string {
  return `berth-build-${id}`
}

function waitReason(word: string): string {
  const known = waitReasons.find(([start]) => word.startsWith(start))
  return known === undefined ? word : `${known[1]} (${word})`
}

function refused(result: CommandResult): Error {
  const complaint = complaintOf(result)
  if (/Unable to contact slurm controller/i.test(result.stderr)) {
    return unavailable("Slurm's controller does not answer")
  }
  if (/munge|authentication/i.test(result.stderr)) {
    return unavailable(`Slurm does not believe who Berth is: ${complaint}`)
  }
  return unavailable(`Slurm refuses: ${complaint}`)
}
