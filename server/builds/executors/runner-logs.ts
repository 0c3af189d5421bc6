/** What runners say of themselves, which is not a build's output: a file for each build. */
import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

const dayMs = 86_400_000
const suffix = '.log'

export class RunnerLogs {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  pathOf(id: string): string {
    return join(this.#directory, `${id}${suffix}`)
  }

  async open(id: string): Promise<FileHandle> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    return await open(this.pathOf(id), 'a', 0o600)
  }

  /** The last line, for people; empty when there is none. */
  async lastWords(id: string): Promise<string> {
    const text = await readFile(this.pathOf(id), 'utf8').catch(() => '')
    const last = text.trimEnd().split('\n').at(-1) ?? ''
    return last === '' ? '' : `its runner ended, and said: ${messageOf(last)}`
  }

  /** Removes what is older than this many days. */
  async expire(days: number): Promise<void> {
    const before = Date.now() - days * dayMs
    for (const name of await readdir(this.#directory).catch(() => [])) {
      if (!name.endsWith(suffix)) continue
      const file = join(this.#directory, name)
      const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Date.now() }))
      if (mtimeMs < before) await rm(file, { force: true })
    }
  }
}

/** Runners log JSON, one object a line; anything else is shown as it is. */
export function messageOf(line: string): string {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } }
    return [msg, err?.message]
      .filter((part) => part !== undefined)
      .join(': ')
      .slice(0, 500)
  } catch {
    return line.slice(0, 500)
  }
}
