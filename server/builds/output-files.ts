/**
 * What builds print, one file each: `<directory>/<first two digits>/<id>.log`. How much of a file
 * counts is in the build's row, which is written after the bytes: what a crash left behind the end is
 * written over by the next piece.
 */
import { mkdirSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export class OutputFiles {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  }

  async write(id: string, position: number, bytes: Buffer): Promise<void> {
    const file = await this.#open(id)
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
        done += bytesWritten
      }
    } finally {
      await file.close()
    }
  }

  /** At most `length` bytes from `position`; fewer, or none, where the file is not there any more. */
  async read(id: string, position: number, length: number): Promise<Buffer> {
    let file
    try {
      file = await open(this.#pathOf(id), 'r')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0)
      throw error
    }
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position)
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  }

  async remove(id: string): Promise<void> {
    await rm(this.#pathOf(id), { force: true })
  }

  async #open(id: string) {
    const path = this.#pathOf(id)
    try {
      return await open(path, 'r+')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      return await open(path, 'w+', 0o600)
    }
  }

  #pathOf(id: string): string {
    return join(this.#directory, id.slice(0, 2), `${id}.log`)
  }
}
