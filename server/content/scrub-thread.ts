/**
 * Reads stored files and hashes them, on a thread of its own that gives way: the lowest processor
 * priority, the idle class of the disk's scheduler where `ionice` is installed and allowed, and a pace
 * that may change in the middle of a file. This file is both sides; the thread begins at its end.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readlinkSync, readSync } from 'node:fs'
import { setPriority } from 'node:os'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

import { identityOf } from './blob-store.ts'
import type { FileIdentity } from './blob-store.ts'

export type ReadFile =
  | { readonly kind: 'read'; readonly hex: string; readonly file: FileIdentity }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }
  | { readonly kind: 'stopped' }

interface Order {
  readonly path: string
  readonly algorithm: 'sha256' | 'sha512'
}

/** Places in the shared numbers. */
const [pace, stop, sleep] = [0, 1, 2]
const pieceBytes = 1 << 20
const kib = 1024
const lowestPriority = 19

export class ScrubThread {
  readonly #shared = new Int32Array(new SharedArrayBuffer(12))
  #worker: Worker | undefined
  #isClosed = false

  /** Bytes in a second from now on; 0 for as fast as it goes. */
  setPace(bytesPerSecond: number): void {
    Atomics.store(this.#shared, pace, Math.min(Math.ceil(bytesPerSecond / kib), 2 ** 31 - 1))
    Atomics.notify(this.#shared, sleep)
  }

  /** One file at a time. Rejects when the thread has ended. */
  async read(path: string, algorithm: 'sha256' | 'sha512'): Promise<ReadFile> {
    if (this.#isClosed) return { kind: 'stopped' }
    this.#worker ??= this.#start()
    const worker = this.#worker
    return await new Promise((resolve, reject) => {
      const settle = (): void => {
        worker.off('message', onMessage)
        worker.off('error', onError)
        worker.off('exit', onExit)
      }
      const onMessage = (answer: ReadFile): void => {
        settle()
        resolve(answer)
      }
      const onError = (error: Error): void => {
        settle()
        this.#worker = undefined
        reject(error)
      }
      const onExit = (): void => onError(new Error('the reading thread has ended'))
      worker.on('message', onMessage)
      worker.on('error', onError)
      worker.on('exit', onExit)
      worker.postMessage({ path, algorithm } satisfies Order)
    })
  }

  /** Reading goes on after a `stop`. */
  resume(): void {
    Atomics.store(this.#shared, stop, 0)
  }

  /** What is being read is answered with `stopped`, and so is what is asked for before `resume`. */
  stop(): void {
    Atomics.store(this.#shared, stop, 1)
    Atomics.notify(this.#shared, sleep)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.stop()
    await this.#worker?.terminate()
    this.#worker = undefined
  }

  #start(): Worker {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: { role, shared: this.#shared },
    })
    worker.unref()
    return worker
  }
}

const role = 'berth scrub thread'

function serve(port: NonNullable<typeof parentPort>, shared: Int32Array<SharedArrayBuffer>): void {
  giveWay()
  const piece = Buffer.allocUnsafeSlow(pieceBytes)
  let due = performance.now()
  /** Waits until the piece that was read may have been. False when it is all over. */
  const keepPace = (bytes: number): boolean => {
    const kibPerSecond = Atomics.load(shared, pace)
    const now = performance.now()
    if (kibPerSecond === 0) {
      due = now
      return Atomics.load(shared, stop) === 0
    }
    due = Math.max(due, now - 1000) + (bytes / kib / kibPerSecond) * 1000
    for (let left = due - now; left > 0; left = due - performance.now()) {
      if (Atomics.load(shared, stop) !== 0) return false
      Atomics.wait(shared, sleep, 0, Math.min(left, 100))
      // Another pace holds for what is left of the wait as well.
      if (Atomics.load(shared, pace) !== kibPerSecond) due = Math.min(due, performance.now())
    }
    return Atomics.load(shared, stop) === 0
  }
  port.on('message', (order: Order) => {
    port.postMessage(readOne(order, piece, keepPace) satisfies ReadFile)
  })
}

function readOne(
  { path, algorithm }: Order,
  piece: Buffer,
  keepPace: (bytes: number) => boolean,
): ReadFile {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const hash = createHash(algorithm)
    for (let position = 0; ;) {
      const bytes = readSync(file, piece, 0, pieceBytes, position)
      if (bytes === 0) break
      hash.update(piece.subarray(0, bytes))
      position += bytes
      if (!keepPace(bytes)) return { kind: 'stopped' }
    }
    const identity = identityOf(fstatSync(file, { bigint: true }))
    return { kind: 'read', hex: hash.digest('hex'), file: identity }
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    return { kind: 'failed', code, message }
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** On Linux both are properties of a thread; where they are not allowed the pace has to do. */
function giveWay(): void {
  try {
    const thread = readlinkSync('/proc/thread-self').split('/').at(-1) ?? ''
    if (!/^\d+$/.test(thread)) return
    setPriority(Number(thread), lowestPriority)
    execFile('ionice', ['-c', '3', '-p', thread], () => {}).unref()
  } catch {
    // Not Linux, or not allowed.
  }
}

interface ThreadData {
  readonly role: string
  readonly shared: Int32Array<SharedArrayBuffer>
}

if (!isMainThread && parentPort !== null) {
  const data = workerData as ThreadData | null
  if (data?.role === role) serve(parentPort, data.shared)
}
