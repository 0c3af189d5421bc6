/**
 * Reads certificates on threads of their own: what a stranger's key costs to parse and to verify is
 * in the stranger's hands, and the event loop is everybody's. A thread that takes too long, or too
 * much memory, is ended, and the next key gets a new one. This file is both sides; the thread begins
 * at the end of it, and only there is the OpenPGP library loaded.
 */
import { constants, platform, setPriority } from 'node:os'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

import { Failure, invalid } from '../failure.ts'
import { armor } from './armor.ts'
import type { Certificate } from './certificate.ts'
import type { CertificateMessage } from './read-certificate.ts'

export interface CertificateReaderOptions {
  /** How long one key may be worked at. */
  readonly deadlineMs?: number
  /** JavaScript objects of one thread, MiB. */
  readonly memoryMib?: number
  readonly threads?: number
  /** Keys that wait for a thread; more are refused. */
  readonly maxWaiting?: number
}

type Request =
  | { readonly act: 'read'; readonly block: string | Uint8Array }
  | { readonly act: 'merge'; readonly stored: Uint8Array; readonly incoming: Uint8Array }

type Answer =
  | { readonly kind: 'begun' }
  | { readonly kind: 'read'; readonly certificate: CertificateMessage }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'broken'; readonly message: string }

interface Job {
  readonly request: Request
  readonly resolve: (certificate: CertificateMessage) => void
  readonly reject: (error: Error) => void
}

const maxBlockBytes = 131_072
/** For a thread to be there and to load the library, on a machine that has other things to do. */
const startMs = 10_000

export class CertificateReader {
  readonly #deadlineMs: number
  readonly #memoryMib: number
  readonly #threads: number
  readonly #maxWaiting: number
  readonly #idle: ReadingThread[] = []
  readonly #busy = new Set<ReadingThread>()
  readonly #waiting: Job[] = []
  #isClosed = false

  constructor(options: CertificateReaderOptions = {}) {
    this.#deadlineMs = options.deadlineMs ?? 2000
    this.#memoryMib = options.memoryMib ?? 64
    this.#threads = options.threads ?? 2
    this.#maxWaiting = options.maxWaiting ?? 32
  }

  /**
   * The certificate of one armored or binary public key block, at most 128 KiB. Failure `invalid`
   * says to the sender what is wrong with it, `too-large` and `unavailable` what they say.
   */
  async read(block: Buffer | string): Promise<Certificate> {
    requireFitting(block)
    // A Buffer may be a view of much more memory, all of which a message would copy.
    const copy = typeof block === 'string' ? block : new Uint8Array(block)
    return await this.#ask({ act: 'read', block: copy })
  }

  /**
   * Everything that the key itself has signed in either of two binary blocks, whose key must be the
   * same. The bytes do not depend on which is which.
   */
  async merge(stored: Buffer, incoming: Buffer): Promise<Certificate> {
    requireFitting(stored)
    requireFitting(incoming)
    return await this.#ask({
      act: 'merge',
      stored: new Uint8Array(stored),
      incoming: new Uint8Array(incoming),
    })
  }

  /** The armored form of `Certificate.bytes`. Nothing is read for it. */
  armor(bytes: Buffer): string {
    return armor(bytes)
  }

  /** Ends the threads; what still waits for one fails. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const { reject } of this.#waiting.splice(0)) reject(closing())
    await Promise.all([...this.#idle.splice(0), ...this.#busy].map((thread) => thread.end()))
  }

  async #ask(request: Request): Promise<Certificate> {
    if (this.#isClosed) throw closing()
    if (this.#waiting.length >= this.#maxWaiting) {
      throw new Failure('unavailable', 'key', 'Many keys are being read: try again in a moment.')
    }
    const message = await new Promise<CertificateMessage>((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject })
      this.#next()
    })
    const { buffer, byteOffset, byteLength } = message.bytes
    return { ...message, bytes: Buffer.from(buffer, byteOffset, byteLength) }
  }

  /** Gives the longest waiting job to a thread, if one is free or may be started. */
  #next(): void {
    if (this.#isClosed || this.#busy.size >= this.#threads) return
    const job = this.#waiting.shift()
    if (job === undefined) return
    const thread = this.#idle.pop() ?? new ReadingThread(this.#deadlineMs, this.#memoryMib)
    this.#busy.add(thread)
    const done = (): void => {
      this.#busy.delete(thread)
      if (thread.isAlive && !this.#isClosed) this.#idle.push(thread)
      this.#next()
    }
    thread.run(job.request).then(job.resolve, job.reject).finally(done).catch(job.reject)
  }
}

/** One thread, which does one job at a time. */
class ReadingThread {
  readonly #worker: Worker
  readonly #deadlineMs: number
  #job: Omit<Job, 'request'> | undefined
  #timer: NodeJS.Timeout | undefined
  #isAlive = true

  constructor(deadlineMs: number, memoryMib: number) {
    this.#deadlineMs = deadlineMs
    this.#worker = new Worker(new URL(import.meta.url), {
      workerData: role,
      env: {},
      resourceLimits: {
        maxOldGenerationSizeMb: memoryMib,
        maxYoungGenerationSizeMb: 16,
        stackSizeMb: 4,
      },
    })
    this.#worker.unref()
    this.#worker.on('message', (answer: Answer) => this.#receive(answer))
    this.#worker.on('error', (error) => this.#fail(isOutOfMemory(error) ? tooCostly() : error))
    this.#worker.on('exit', () => this.#fail(new Error('the thread that reads keys has ended')))
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  async run(request: Request): Promise<CertificateMessage> {
    // A process that waits for nothing else waits for this; an idle thread does not keep it.
    this.#worker.ref()
    return await new Promise((resolve, reject) => {
      this.#job = { resolve, reject }
      this.#endIn(
        startMs,
        new Failure('unavailable', 'key', 'No key can be read at present: try again later.'),
      )
      this.#worker.postMessage(request)
    })
  }

  async end(): Promise<void> {
    this.#fail(closing())
    await this.#worker.terminate()
  }

  #receive(answer: Answer): void {
    if (answer.kind === 'begun') {
      this.#endIn(this.#deadlineMs, tooCostly())
      return
    }
    const job = this.#finish()
    if (answer.kind === 'read') job?.resolve(answer.certificate)
    else if (answer.kind === 'refused') job?.reject(invalid('key', answer.message))
    else job?.reject(new Error(answer.message))
  }

  #endIn(ms: number, failure: Failure): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#fail(failure), ms)
  }

  /** The thread is given up: it may be in the middle of anything. */
  #fail(error: Error): void {
    this.#isAlive = false
    this.#finish()?.reject(error)
    void this.#worker.terminate()
  }

  #finish(): Omit<Job, 'request'> | undefined {
    clearTimeout(this.#timer)
    this.#worker.unref()
    const job = this.#job
    this.#job = undefined
    return job
  }
}

function requireFitting(block: Buffer | string): void {
  if (Buffer.byteLength(block) <= maxBlockBytes) return
  throw new Failure(
    'too-large',
    'key',
    `A key may have ${maxBlockBytes / 1024} KiB: export it with --export-options export-minimal.`,
  )
}

function tooCostly(): Failure {
  return invalid(
    'key',
    'It takes too much time or memory to check this key: export it with --export-options export-minimal.',
  )
}

function closing(): Failure {
  return new Failure('unavailable', 'key', 'The server is closing: try again in a moment.')
}

function isOutOfMemory(error: Error): boolean {
  return 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'
}

const role = 'berth key reading thread'

async function serve(port: NonNullable<typeof parentPort>): Promise<void> {
  // Of this thread alone, on Linux: where processors are few, the event loop goes first.
  if (platform() === 'linux') setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
  const { mergeCertificates, readCertificate } = await import('./read-certificate.ts')
  const answer = async (request: Request): Promise<Answer> => {
    try {
      const certificate =
        request.act === 'read'
          ? await readCertificate(request.block)
          : await mergeCertificates(request.stored, request.incoming)
      return { kind: 'read', certificate }
    } catch (error) {
      if (error instanceof Failure) return { kind: 'refused', message: error.message }
      return { kind: 'broken', message: error instanceof Error ? error.message : String(error) }
    }
  }
  port.on('message', (request: Request) => {
    port.postMessage({ kind: 'begun' } satisfies Answer)
    void answer(request).then((result) => port.postMessage(result))
  })
}

if (!isMainThread && workerData === role && parentPort !== null) await serve(parentPort)
