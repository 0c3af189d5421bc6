/**
 * Checks clear-signed messages on a thread of its own, one after the other and each within a
 * deadline, because OpenPGP.js can be kept busy by what people upload (signature-check.ts). This file
 * is both sides; the thread begins at the end of it.
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

import { Failure } from '../failure.ts'
import type { ClearSigned } from '../sif/clear-sign.ts'
import type { Finding, Issuer } from './signature-check.ts'

/**
 * The certificate that holds a key (binary), by the fingerprint of any of its keys or, where a
 * signature names none, by the key ID: 40 or 64, or 16, upper-case hex digits.
 */
export type FindKey = (fingerprintOrKeyId: string) => Promise<Uint8Array | undefined>

export type SignatureFinding =
  | Finding
  | {
      readonly kind: 'unknown-key'
      readonly keyId: string
      readonly fingerprint: string | undefined
    }

type Question =
  | { readonly act: 'issuers'; readonly message: ClearSigned }
  | {
      readonly act: 'check'
      readonly message: ClearSigned
      readonly index: number
      readonly certificate: Uint8Array
    }

type Answer = readonly Issuer[] | Finding

const MAX_MESSAGE_BYTES = 1024 * 1024
/** For the thread to load OpenPGP.js, which takes 0.2 s on an idle machine. */
const START_MS = 60_000
const DAY_MS = 86_400_000
const role = 'berth signature thread'

export class SignatureThread {
  readonly #deadlineMs: number
  #worker: Worker | undefined
  #turn: Promise<unknown> = Promise.resolve()

  /** `deadlineMs` bounds each question to the thread; there are two for a signature. */
  constructor(deadlineMs = 2000) {
    this.#deadlineMs = deadlineMs
  }

  /**
   * Whose signature it is, and whether it holds. As for clients, the first signature of the message
   * whose key is found decides. What `findKey` throws passes through.
   */
  async check(message: ClearSigned, findKey: FindKey): Promise<SignatureFinding> {
    if (message.signed.length + message.armoredSignature.length > MAX_MESSAGE_BYTES) {
      return bad('it is larger than 1 MiB')
    }
    const issuers = await this.#ask({ act: 'issuers', message })
    if ('kind' in issuers) return issuers
    for (const [index, { keyId, fingerprint, refusal }] of issuers.entries()) {
      if (refusal !== undefined) return bad(refusal)
      const certificate = await findKey(fingerprint ?? keyId)
      if (certificate === undefined) continue
      const finding = await this.#ask({ act: 'check', message, index, certificate })
      return 'kind' in finding ? finding : bad('it could not be checked')
    }
    const [first] = issuers
    return first === undefined
      ? bad('there is no signature in it')
      : { kind: 'unknown-key', keyId: first.keyId, fingerprint: first.fingerprint }
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  async #ask(question: Question): Promise<Answer> {
    const answer = this.#turn.then(() => this.#askAlone(question))
    this.#turn = answer.catch(() => undefined)
    return await answer
  }

  /** A thread that does not answer in time, or dies of the question, is replaced by the next one. */
  async #askAlone(question: Question): Promise<Answer> {
    const worker = await this.#thread()
    // While somebody waits, the thread keeps the process alive.
    worker.ref()
    try {
      const answered = once(worker, 'message', { signal: AbortSignal.timeout(this.#deadlineMs) })
      worker.postMessage(question)
      const [answer] = (await answered) as [Answer]
      return answer
    } catch {
      this.#worker = undefined
      await worker.terminate()
      const reason = `it could not be checked within ${this.#deadlineMs / 1000} seconds`
      // A machine that was busy is not the signer's fault.
      return { kind: 'bad', reason, again: new Date(Date.now() + DAY_MS) }
    } finally {
      worker.unref()
    }
  }

  async #thread(): Promise<Worker> {
    if (this.#worker !== undefined) return this.#worker
    const worker = new Worker(new URL(import.meta.url), {
      workerData: role,
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: 128 },
    })
    // `once` hears of errors while a question is open; without a listener others would end Berth.
    worker.on('error', () => undefined)
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined
    })
    try {
      await once(worker, 'message', { signal: AbortSignal.timeout(START_MS) })
    } catch (error) {
      await worker.terminate()
      const text = 'No signature can be checked at present: try again later.'
      throw new Failure('unavailable', 'image', text, { cause: error })
    }
    worker.unref()
    this.#worker = worker
    return worker
  }
}

function bad(reason: string): Finding {
  return { kind: 'bad', reason }
}

async function serve(port: NonNullable<typeof parentPort>): Promise<void> {
  const { checkSignature, readIssuers } = await import('./signature-check.ts')
  port.on('message', async (question: Question) => {
    try {
      const { message } = question
      port.postMessage(
        (question.act === 'issuers'
          ? await readIssuers(message)
          : await checkSignature(message, question.index, question.certificate)) satisfies Answer,
      )
    } catch {
      port.postMessage(bad('it cannot be read as an OpenPGP signature') satisfies Answer)
    }
  })
  port.postMessage('ready')
}

if (!isMainThread && workerData === role && parentPort !== null) await serve(parentPort)
