/**
 * A secret of Berth's own that is replaced while it runs. Beside the file of the present one stand
 * those that came before, `<file>.<unix seconds of its end>`, as long as what they made is good.
 * Every process notices a rotation by itself: the file is looked at, not watched.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

import { syncDirectory } from './durable-file.ts'
import { readOrMakeSecret } from './secret-file.ts'

export interface RotatedSecretKind<Made> {
  readonly name: string
  /** A new one, as its file has it. */
  readonly make: () => Promise<string> | string
  /** What is used of it; called with what `retire` left of the former ones too. */
  readonly parse: (text: string) => Made
  /** What must stay of a former one so that what it made is accepted. */
  readonly retire: (text: string) => string
  /** For how long after its end that is. */
  readonly overlapSeconds: number
}

export interface SecretAge {
  readonly name: string
  readonly file: string
  readonly madeAt: Date
  /** Former ones that are accepted still. */
  readonly former: readonly { readonly endedAt: Date; readonly acceptedUntil: Date }[]
}

interface Held<Made> {
  readonly identity: string
  readonly current: Made
  readonly former: readonly { readonly made: Made; readonly acceptedUntil: number }[]
}

const lookMs = 1000

export class RotatedSecret<Made> {
  readonly #path: string
  readonly #kind: RotatedSecretKind<Made>
  #held: Held<Made>
  #lookedAt = 0

  /** Makes the secret when it is missing. */
  static async open<Made>(
    path: string,
    kind: RotatedSecretKind<Made>,
  ): Promise<RotatedSecret<Made>> {
    await readOrMakeSecret(path, kind.make)
    return new RotatedSecret(path, kind)
  }

  private constructor(path: string, kind: RotatedSecretKind<Made>) {
    this.#path = path
    this.#kind = kind
    this.#held = this.#read()
  }

  get name(): string {
    return this.#kind.name
  }

  get current(): Made {
    this.#look(lookMs)
    return this.#held.current
  }

  /** All that are accepted now, the present one first. */
  get accepted(): readonly Made[] {
    this.#look(lookMs)
    return this.#acceptedNow()
  }

  /**
   * The first of them that fits. Before there is none, the file is looked at again: another process
   * may have rotated it this very moment.
   */
  find(fits: (made: Made) => boolean): Made | undefined {
    return this.accepted.find(fits) ?? (this.#look(0) ? this.#acceptedNow().find(fits) : undefined)
  }

  /** `now`: the former ones, the present one among them, are not accepted any more. */
  async rotate(options: { readonly now: boolean }): Promise<void> {
    const directory = dirname(this.#path)
    const text = readFileSync(this.#path, 'utf8')
    const next = await writeBeside(this.#path, await this.#kind.make())
    if (!options.now) {
      const left = await writeBeside(this.#path, this.#kind.retire(text))
      await rename(left, `${this.#path}.${this.#endOfPresent()}`)
    }
    for (const { file, endedAt } of this.#formerFiles()) {
      if (options.now || this.#isOver(endedAt)) await unlink(join(directory, file))
    }
    await rename(next, this.#path)
    await syncDirectory(directory)
    this.#held = this.#read()
  }

  age(): SecretAge {
    const former = this.#formerFiles()
      .filter(({ endedAt }) => !this.#isOver(endedAt))
      .map(({ endedAt }) => ({
        endedAt: new Date(endedAt * 1000),
        acceptedUntil: new Date((endedAt + this.#kind.overlapSeconds) * 1000),
      }))
    return { name: this.name, file: this.#path, madeAt: statSync(this.#path).mtime, former }
  }

  /** Unix seconds; two that end in one second do not get one name. */
  #endOfPresent(): number {
    const now = Math.floor(Date.now() / 1000)
    const newest = this.#formerFiles()[0]?.endedAt ?? 0
    return Math.max(now, newest + 1)
  }

  #acceptedNow(): Made[] {
    const { current, former } = this.#held
    const now = Date.now()
    return [
      current,
      ...former.filter(({ acceptedUntil }) => acceptedUntil > now).map(({ made }) => made),
    ]
  }

  /** Whether it is another one than before. */
  #look(afterMs: number): boolean {
    const now = Date.now()
    if (now - this.#lookedAt < afterMs) return false
    this.#lookedAt = now
    const before = this.#held.identity
    if (identityOf(this.#path) === before) return false
    this.#held = this.#read()
    return true
  }

  #read(): Held<Made> {
    const { parse, overlapSeconds } = this.#kind
    const directory = dirname(this.#path)
    const identity = identityOf(this.#path)
    const former = this.#formerFiles()
      .filter(({ endedAt }) => !this.#isOver(endedAt))
      .map(({ file, endedAt }) => ({
        made: parse(readFileSync(join(directory, file), 'utf8')),
        acceptedUntil: (endedAt + overlapSeconds) * 1000,
      }))
    return { identity, current: parse(readFileSync(this.#path, 'utf8')), former }
  }

  /** The newest first. */
  #formerFiles(): { readonly file: string; readonly endedAt: number }[] {
    const prefix = `${basename(this.#path)}.`
    return readdirSync(dirname(this.#path))
      .filter((file) => file.startsWith(prefix) && /^\d{9,11}$/.test(file.slice(prefix.length)))
      .map((file) => ({ file, endedAt: Number(file.slice(prefix.length)) }))
      .toSorted((one, other) => other.endedAt - one.endedAt)
  }

  #isOver(endedAt: number): boolean {
    return (endedAt + this.#kind.overlapSeconds) * 1000 <= Date.now()
  }
}

/** Of the file that is there now; a missing one reads as another, and the reading says so. */
function identityOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false })
  return found === undefined ? '' : `${found.ino} ${found.mtimeMs} ${found.size}`
}

async function writeBeside(path: string, text: string): Promise<string> {
  const fresh = `${path}.new-${randomBytes(6).toString('hex')}`
  const file = await open(fresh, 'wx', 0o600)
  await file.writeFile(text)
  await file.sync()
  await file.close()
  return fresh
}
