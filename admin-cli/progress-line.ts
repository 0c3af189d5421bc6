/** Where long work has come to: one line that is written over, or, where no terminal is, now and then one. */
export class ProgressLine {
  readonly #isTerminal = process.stderr.isTTY
  #lastAt = process.stderr.isTTY ? 0 : Date.now()
  #width = 0

  /** On standard error: standard output holds results alone. */
  show(text: string): void {
    const now = Date.now()
    if (now - this.#lastAt < (this.#isTerminal ? 100 : 10_000)) return
    this.#lastAt = now
    if (!this.#isTerminal) {
      process.stderr.write(`${text}\n`)
      return
    }
    process.stderr.write(`\r${text.padEnd(this.#width)}`)
    this.#width = text.length
  }

  /** Clears the line. */
  end(): void {
    if (this.#isTerminal && this.#width > 0) process.stderr.write(`\r${' '.repeat(this.#width)}\r`)
  }
}
