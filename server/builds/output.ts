/** The output of a build: pieces from its runner, notes of the server, and what readers get of it. */
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import type { OutputFiles } from './output-files.ts'
import type { BuildSignals } from './signals.ts'

export interface Acknowledged {
  /** False: the piece does not begin where the last one ended, and was not taken. */
  readonly accepted: boolean
  /** Bytes of this attempt that have arrived: where the next piece begins. */
  readonly size: number
  /** The build is to end. */
  readonly cancel: boolean
}

interface Position {
  readonly outputBytes: number
  readonly attemptBytes: number
  readonly full: boolean
  readonly cancel: boolean
}

export class BuildOutput {
  readonly #database: Database
  readonly #files: OutputFiles
  readonly #signals: BuildSignals
  readonly #maxBytes: number

  constructor(database: Database, files: OutputFiles, signals: BuildSignals, maxBytes: number) {
    this.#database = database
    this.#files = files
    this.#signals = signals
    this.#maxBytes = maxBytes
  }

  /** A piece from the runner; with no bytes only a sign of life. What is over the limit is dropped. */
  async append(id: string, offset: number, bytes: Buffer): Promise<Acknowledged> {
    const result = await this.#database.transaction(async (tx) => {
      const position = await lock(tx, id)
      const { attemptBytes, outputBytes, cancel } = position
      if (offset !== attemptBytes) return { accepted: false, size: attemptBytes, cancel }
      const room = position.full ? 0 : Math.max(0, this.#maxBytes - outputBytes)
      const full = position.full || bytes.length > room
      const kept = bytes.subarray(0, room)
      const note = full && !position.full ? '\n[truncated]\n' : ''
      const written = Buffer.concat([kept, Buffer.from(note)])
      await this.#files.write(id, outputBytes, written)
      const size = attemptBytes + bytes.length
      await tx.query(sql`
        update builds set heartbeat_at = now(), attempt_bytes = ${size},
          output_bytes = ${outputBytes + written.length}, output_full = ${full}
        where id = ${id}`)
      return { accepted: true, size, cancel }
    })
    if (bytes.length > 0) this.#signals.changed(id)
    return result
  }

  /** A line of the server, in the transaction of what it tells of. */
  async note(tx: Db, id: string, text: string): Promise<void> {
    const { outputBytes } = await lock(tx, id)
    const last = outputBytes === 0 ? undefined : await this.#files.read(id, outputBytes - 1, 1)
    const begin = last === undefined || last.toString() === '\n' ? '' : '\n'
    const bytes = Buffer.from(`${begin}${text}\n`)
    await this.#files.write(id, outputBytes, bytes)
    await tx.query(sql`
      update builds set output_bytes = ${outputBytes + bytes.length} where id = ${id}`)
  }

  /** At most `length` of the bytes from `position` on that count at `end`. */
  async read(id: string, position: number, end: number, length: number): Promise<Buffer> {
    const wanted = Math.min(length, end - position)
    return wanted > 0 ? await this.#files.read(id, position, wanted) : Buffer.alloc(0)
  }
}

async function lock(tx: Db, id: string): Promise<Position> {
  const [row] = await tx.query<Position>(sql`
    select output_bytes as "outputBytes", attempt_bytes as "attemptBytes", output_full as "full",
      cancel_requested_at is not null as "cancel"
    from builds where id = ${id} for update`)
  if (row === undefined) throw new Error(`there is no build ${id}`)
  return row
}
