/**
 * Contexts: the files of `%files`, which a client sends as a tar.gz before it hands in the build. A
 * context belongs to the account that sent it. It is only ever unpacked inside a sandbox.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import type { Digest } from '../content/names.ts'
import { digestOfHex } from '../content/names.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { checkContext } from './context-archive.ts'
import { requireBuilder } from './rights.ts'

export interface ContextsOptions {
  readonly maxBytes: number
}

interface ContextRow {
  readonly id: string
  readonly accountId: string
  readonly digest: Digest
  readonly size: number
  readonly arrived: boolean
}

const perAccount = 32
/** Clients delete a context after their build; what they forgot goes after a day. */
const keepHours = 24

export class BuildContexts {
  readonly #database: Database
  readonly #directory: string
  readonly #options: ContextsOptions

  constructor(database: Database, directory: string, options: ContextsOptions) {
    this.#database = database
    this.#directory = directory
    this.#options = options
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  }

  /** Returns the identifier that the bytes are sent for; undefined when this account has sent them. */
  async offer(actor: Actor, digest: Digest, size: number): Promise<string | undefined> {
    const { accountId } = requireBuilder(actor)
    const { maxBytes } = this.#options
    if (size > maxBytes) {
      throw new Failure(
        'too-large',
        'context',
        `Files of more than ${maxBytes} bytes are not taken.`,
      )
    }
    const row = await this.#database.transaction(async (tx) => {
      await tx.query(sql`select 1 from accounts where id = ${accountId} for update`)
      const [known] = await tx.query<ContextRow>(sql`
        update build_contexts set released_at = null, used_at = now(),
          size = case when uploaded_at is null then ${size} else size end
        where account_id = ${accountId} and digest = ${digest}
        returning id, account_id as "accountId", digest, size, uploaded_at is not null as "arrived"`)
      if (known !== undefined) return known
      const [{ count } = { count: 0 }] = await tx.query<{ count: number }>(
        sql`select count(*) as "count" from build_contexts where account_id = ${accountId}`,
      )
      if (count >= perAccount) {
        const text = `You have ${count} build contexts here, and that is the limit: wait for your builds, or delete some.`
        throw new Failure('conflict', 'context', text)
      }
      const id = randomBytes(16).toString('hex')
      await tx.query(sql`
        insert into build_contexts (id, account_id, digest, size)
        values (${id}, ${accountId}, ${digest}, ${size})`)
      return { id, accountId, digest, size, arrived: false }
    })
    if (!row.arrived) return row.id
    if (await isFile(this.#pathOf(row.id), row.size)) return undefined
    await this.#database.query(
      sql`update build_contexts set uploaded_at = null, size = ${size} where id = ${row.id}`,
    )
    return row.id
  }

  /** Takes the bytes, which have to be what was announced, and looks into them. */
  async receive(
    id: string,
    source: AsyncIterable<Buffer>,
    length: number | undefined,
  ): Promise<void> {
    const context = await this.#find(id)
    if (context === undefined) throw notFound('context', 'This upload is not wanted any more.')
    if (context.arrived) return
    if (length !== undefined && length !== context.size) {
      throw invalid('context', `${length} bytes arrive where ${context.size} were announced.`)
    }
    const unfinished = `${this.#pathOf(id)}.${randomBytes(8).toString('hex')}.part`
    try {
      const file = await open(unfinished, 'wx', 0o600)
      try {
        await copy(source, file, context)
      } finally {
        await file.close()
      }
      await checkContext(unfinished)
      await rename(unfinished, this.#pathOf(id))
      await this.#database.query(sql`
        update build_contexts set uploaded_at = now(), used_at = now() where id = ${id}`)
    } catch (error) {
      await rm(unfinished, { force: true })
      throw error
    }
  }

  /** For a build that is handed in now: the context of this account, which is kept for it. */
  async claim(tx: Db, accountId: string, digest: Digest): Promise<string> {
    const [row] = await tx.query<{ id: string; size: number }>(sql`
      update build_contexts set used_at = now()
      where account_id = ${accountId} and digest = ${digest} and uploaded_at is not null
      returning id, size`)
    if (row !== undefined && (await isFile(this.#pathOf(row.id), row.size))) return row.id
    throw invalid('context', 'You have not sent the files that this build names: send them first.')
  }

  async open(id: string): Promise<{ readonly file: FileHandle; readonly size: number }> {
    const context = await this.#find(id)
    if (context === undefined || !context.arrived) {
      throw notFound('context', 'The files of this build are not there any more.')
    }
    return { file: await open(this.#pathOf(id), 'r'), size: context.size }
  }

  /** The owner does not need it any more; builds of his that are under way still have it. */
  async remove(actor: Actor, digest: Digest): Promise<void> {
    const { accountId } = requireBuilder(actor)
    await this.#database.transaction(async (tx) => {
      const [row] = await tx.query<{ id: string }>(sql`
        update build_contexts set released_at = now()
        where account_id = ${accountId} and digest = ${digest} returning id`)
      if (row === undefined) throw notFound('context', 'You have no build context of this hash.')
      await audit(tx, actor, { action: 'context.delete', target: digest })
    })
    await this.expire()
  }

  /** Removes what was released or forgotten and no build needs; returns how many. */
  async expire(): Promise<number> {
    // The row first: a file without one is an orphan, which the next lines find.
    const gone = await this.#database.query<{ id: string }>(sql`
      delete from build_contexts c
      where (c.released_at is not null or c.used_at < now() - make_interval(hours => ${keepHours}))
        and not exists (select 1 from builds b where b.context_id = c.id and b.ended_at is null)
      returning c.id`)
    for (const { id } of gone) await rm(this.#pathOf(id), { force: true })
    await this.#removeOrphans()
    return gone.length
  }

  async #removeOrphans(): Promise<void> {
    const before = Date.now() - keepHours * 3_600_000
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
      if (mtimeMs > before) continue
      if (name.endsWith('.part') || (await this.#find(name.replace(/\..*$/, ''))) === undefined) {
        await rm(path, { force: true })
      }
    }
  }

  async #find(id: string): Promise<ContextRow | undefined> {
    const [row] = await this.#database.query<ContextRow>(sql`
      select id, account_id as "accountId", digest, size, uploaded_at is not null as "arrived"
      from build_contexts where id = ${id}`)
    return row
  }

  #pathOf(id: string): string {
    return join(this.#directory, `${id}.tar.gz`)
  }
}

async function copy(
  source: AsyncIterable<Buffer>,
  file: FileHandle,
  context: { readonly digest: Digest; readonly size: number },
): Promise<void> {
  const hash = createHash('sha256')
  let received = 0
  for await (const piece of source) {
    received += piece.length
    if (received > context.size) {
      throw invalid('context', `More bytes arrived than were announced (${context.size}).`)
    }
    hash.update(piece)
    await file.writeFile(piece)
  }
  if (received !== context.size) {
    throw invalid('context', `${received} of ${context.size} bytes arrived: send them again.`)
  }
  const found = digestOfHex(hash.digest('hex'))
  if (found === context.digest) return
  throw invalid('context', `The bytes have the hash ${found}, but ${context.digest} was announced.`)
}

async function isFile(path: string, size: number): Promise<boolean> {
  return await stat(path).then(
    (found) => found.size === size,
    () => false,
  )
}
