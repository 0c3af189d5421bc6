/**
 * SHA-256 on a thread of its own, so that one upload is hashed while the main thread receives and
 * writes the next bytes, and the event loop stays free. The bytes are in shared memory: what goes
 * between the threads is one short message for each piece. This file is both sides; the thread
 * begins at the end of it.
 */
import { createHash } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

/** Bytes in shared memory, of which a part may be filled. */
export type SharedPiece = Buffer<SharedArrayBuffer>

type Message =
  | {
      readonly act: 'update'
      readonly id: number
      readonly call: number
      readonly piece: Uint8Array
    }
  | { readonly act: 'copy'; readonly id: number; readonly from: number }
  | { readonly act: 'digest'; readonly id: number; readonly call: number }
  | { readonly act: 'dispose'; readonly id: number }

interface Answer {
  readonly call: number
  readonly hex: string | undefined
}

interface Waiting {
  readonly resolve: (hex: string | undefined) => void
  readonly reject: (error: Error) => void
}

export class HashThread {
  #worker: Worker | undefined
  readonly #waiting = new Map<number, Waiting>()
  #calls = 0
  #ids = 0
  #isClosed = false

  newHash(): StreamHash {
    return new StreamHash(this, (this.#ids += 1))
  }

  /** What waits is rejected, and so is what is asked later; no thread starts again. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#worker?.terminate()
  }

  /**
   * For StreamHash: sends without an answer. An upload that is broken off by the end of the server
   * may dispose of its hash afterwards, and a thread begun for that would keep the process alive.
   */
  tell(message: Message): void {
    if (!this.#isClosed) this.#thread().postMessage(message)
  }

  /** For StreamHash: sends and waits for the answer. */
  async ask(make: (call: number) => Message): Promise<string | undefined> {
    if (this.#isClosed) throw new Error('the hashing thread has ended')
    const call = (this.#calls += 1)
    return await new Promise((resolve, reject) => {
      this.#waiting.set(call, { resolve, reject })
      this.tell(make(call))
    })
  }

  nextId(): number {
    return (this.#ids += 1)
  }

  #thread(): Worker {
    if (this.#worker !== undefined) return this.#worker
    const worker = new Worker(new URL(import.meta.url), { workerData: role })
    worker.unref()
    worker.on('message', ({ call, hex }: Answer) => {
      this.#waiting.get(call)?.resolve(hex)
      this.#waiting.delete(call)
    })
    worker.on('error', (error) => this.#fail(error))
    worker.on('exit', () => this.#fail(new Error('the hashing thread has ended')))
    this.#worker = worker
    return worker
  }

  /** Ends everything that waits; the next hash starts a new thread. */
  #fail(error: Error): void {
    this.#worker = undefined
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

/** One running hash. Pieces are hashed in the order of the calls. */
export class StreamHash {
  readonly #thread: HashThread
  readonly #id: number

  constructor(thread: HashThread, id: number) {
    this.#thread = thread
    this.#id = id
  }

  /** Resolves when the piece has been read and its memory may be used again. */
  async update(piece: SharedPiece): Promise<void> {
    await this.#thread.ask((call) => ({ act: 'update', id: this.#id, call, piece }))
  }

  /** A second hash of what was given so far. */
  copy(): StreamHash {
    const id = this.#thread.nextId()
    this.#thread.tell({ act: 'copy', id, from: this.#id })
    return new StreamHash(this.#thread, id)
  }

  /** 64 lower-case hex digits; the hash is over. */
  async digest(): Promise<string> {
    const hex = await this.#thread.ask((call) => ({ act: 'digest', id: this.#id, call }))
    return hex ?? ''
  }

  dispose(): void {
    this.#thread.tell({ act: 'dispose', id: this.#id })
  }
}

const role = 'berth hashing thread'

function serve(port: NonNullable<typeof parentPort>): void {
  const hashes = new Map<number, Hash>()
  const hashOf = (id: number): Hash => {
    const hash = hashes.get(id) ?? createHash('sha256')
    hashes.set(id, hash)
    return hash
  }
  port.on('message', (message: Message) => {
    if (message.act === 'copy') {
      hashes.set(message.id, hashOf(message.from).copy())
    } else if (message.act === 'dispose') {
      hashes.delete(message.id)
    } else if (message.act === 'update') {
      hashOf(message.id).update(message.piece)
      port.postMessage({ call: message.call, hex: undefined } satisfies Answer)
    } else {
      const hex = hashOf(message.id).digest('hex')
      hashes.delete(message.id)
      port.postMessage({ call: message.call, hex } satisfies Answer)
    }
  })
}

if (!isMainThread && workerData === role && parentPort !== null) serve(parentPort)
