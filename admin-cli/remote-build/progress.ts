/** What a person sees while waiting: one line that changes on a terminal, and lines elsewhere. */
import { printable } from '../printable.ts'

const minGapMs = 200

export class Progress {
  readonly #output: NodeJS.WriteStream
  readonly #isTerminal: boolean
  #shown = false
  #shownAt = 0
  #told = ''

  constructor(output: NodeJS.WriteStream = process.stderr) {
    this.#output = output
    this.#isTerminal = output.isTTY
  }

  info(text: string): void {
    this.clear()
    this.#output.write(`INFO:    ${printable(text)}\n`)
  }

  warn(text: string): void {
    this.clear()
    this.#output.write(`WARNING: ${printable(text)}\n`)
  }

  /** A line that the next one replaces; without a terminal each is written once. */
  state(text: string): void {
    if (!this.#isTerminal) {
      if (text !== this.#told) this.info(text)
      this.#told = text
      return
    }
    this.#draw(text)
  }

  /** Bytes of all bytes; nothing without a terminal. */
  bytes(what: string, done: number, all: number): void {
    const now = performance.now()
    if (!this.#isTerminal || (done < all && now - this.#shownAt < minGapMs)) return
    const percent = all === 0 ? 100 : Math.floor((done / all) * 100)
    this.#draw(`${what} ${mebibytes(done)} of ${mebibytes(all)} MiB (${percent} %)`)
  }

  clear(): void {
    if (this.#shown) this.#output.write('\r\u001b[K')
    this.#shown = false
  }

  #draw(text: string): void {
    const width = Math.max(20, (this.#output.columns ?? 80) - 1)
    this.#output.write(`\r\u001b[K${printable(text).slice(0, width)}`)
    this.#shown = true
    this.#shownAt = performance.now()
  }
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1)
}
