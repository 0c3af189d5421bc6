/** Bytes of a stream by their number, holding no more than was asked for and one chunk. */
export class ByteQueue {
  readonly #source: AsyncIterator<Buffer>
  readonly #early: () => Error
  #chunk: Buffer = Buffer.alloc(0)

  /** `early` is thrown when the source ends in the middle of what was asked for. */
  constructor(source: AsyncIterable<Buffer>, early: () => Error) {
    this.#early = early
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Exactly `count` bytes; undefined at the end of the source. */
  async take(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = []
    let missing = count
    while (missing > 0) {
      const part = await this.#next(missing)
      if (part === undefined) break
      parts.push(part)
      missing -= part.length
    }
    if (missing === count && count > 0) return undefined
    if (missing > 0) throw this.#early()
    return parts.length === 1 ? parts[0] : Buffer.concat(parts)
  }

  /** The next `count` bytes as they come. */
  async *stream(count: number): AsyncGenerator<Buffer> {
    let missing = count
    while (missing > 0) {
      const part = await this.#next(missing)
      if (part === undefined) throw this.#early()
      missing -= part.length
      yield part
    }
  }

  async skip(count: number): Promise<void> {
    await drain(this.stream(count))
  }

  async #next(most: number): Promise<Buffer | undefined> {
    while (this.#chunk.length === 0) {
      const next = await this.#source.next()
      if (next.done === true) return undefined
      this.#chunk = next.value
    }
    const part = this.#chunk.subarray(0, most)
    this.#chunk = this.#chunk.subarray(part.length)
    return part
  }
}

/** Reads to the end and keeps nothing. */
export async function drain(source: AsyncIterable<Buffer>): Promise<void> {
  const iterator = source[Symbol.asyncIterator]()
  while ((await iterator.next()).done !== true);
}
