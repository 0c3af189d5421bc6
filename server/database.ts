/**
 * PostgreSQL by hand-written statements. `sql` makes a statement whose values can never become
 * text; `Db` is whatever can run one, so the same function runs inside and outside a transaction.
 */
import pg from 'pg'

import { DatabaseWatch } from './database-watch.ts'
import { Failure, invalid } from './failure.ts'
import type { Log } from './log.ts'

export interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
  /** Under this name the server keeps the parsed and planned statement, once a connection. */
  readonly name?: string
}

const prepared = new WeakMap<
  TemplateStringsArray,
  { readonly text: string; readonly name: string }
>()
let statements = 0

/** `sql\`select … where id = ${id}\`` → `{ text: 'select … where id = $1', values: [id] }`. */
export function sql(parts: TemplateStringsArray, ...values: readonly unknown[]): Statement {
  // The parts are the same object at each run of one place in the code.
  let statement = prepared.get(parts)
  if (statement === undefined) {
    const text = parts.reduce((before, part, index) => `${before}$${index}${part}`)
    statement = { text, name: `s${(statements += 1)}` }
    prepared.set(parts, statement)
  }
  return { ...statement, values }
}

/** For a pattern, which alone tells whether an index helps: planned at each run, by its values. */
export function plannedAnew({ text, values }: Statement): Statement {
  return { text, values }
}

export interface Db {
  /** All rows of one statement. */
  query<Row extends object>(statement: Statement): Promise<Row[]>
}

export interface Database extends Db {
  /** Runs `work` in one transaction: committed when it returns, rolled back when it throws. */
  transaction<Result>(work: (tx: Db) => Promise<Result>): Promise<Result>
  /** Runs `work` on one connection that holds the named advisory lock, or not at all. */
  exclusively(name: string, work: () => Promise<void>): Promise<boolean>
  /** How its connections are used, without asking it anything. */
  state(): DatabaseState
  close(): Promise<void>
}

export interface DatabaseState {
  readonly inUse: number
  /** As many as there may be. */
  readonly most: number
  /** Callers without a connection. */
  readonly waiting: number
  /** How often it gave no answer since this process began. */
  readonly hangs: number
  readonly isHanging: boolean
}

const mostConnections = 12

export interface DatabaseAddress {
  /** A directory with a unix socket, or a postgres:// URL. */
  readonly socketDir?: string
  readonly user?: string
  readonly database?: string
  readonly url?: string
  readonly password?: string
}

// int8 and numeric sums arrive as text; every number that Berth keeps is far below 2^53.
const parsers: Record<number, (text: string) => unknown> = {
  20: toSafeInteger,
  1700: toSafeInteger,
}

function toSafeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`not a safe integer: ${text}`)
  return value
}

export function clientConfig(address: DatabaseAddress): pg.ClientConfig {
  return {
    ...(address.url === undefined
      ? { host: address.socketDir, user: address.user, database: address.database }
      : { connectionString: address.url }),
    ...(address.password === undefined ? {} : { password: address.password }),
    application_name: 'berth',
    connectionTimeoutMillis: 5_000,
    types: {
      getTypeParser: (id, format): unknown => parsers[id] ?? pg.types.getTypeParser(id, format),
    },
  }
}

export function openDatabase(address: DatabaseAddress, log: Log): Database {
  const pool = new pg.Pool({
    ...clientConfig(address),
    max: mostConnections,
    statement_timeout: 30_000,
    idle_in_transaction_session_timeout: 60_000,
    lock_timeout: 20_000,
  })
  // Without a listener a lost idle connection would end the process.
  pool.on('error', (error) => log.warn({ err: error }, 'an idle database connection was lost'))

  let hangs = 0
  const watch = new DatabaseWatch(clientConfig(address), {
    hangs: () => {
      hangs += 1
      log.error('the database does not answer: requests that need it are refused')
    },
    answers: () => log.info('the database answers again'),
  })

  async function withClient<Result>(work: (client: pg.PoolClient) => Promise<Result>) {
    const { outage } = watch
    const client = await checkOut(outage)
    let broken: Error | undefined
    // Without a listener a connection that is lost between two statements would end the process.
    const lost = (error: Error): void => void (broken = error)
    client.on('error', lost)
    let isReleased = false
    const release = (error?: Error): void => {
      if (!isReleased) client.release(error)
      isReleased = true
    }
    // Released as broken it is closed, and what it has been asked fails by that.
    const giveUp = (): void => release(doesNotAnswer())
    outage.addEventListener('abort', giveUp, { once: true })
    try {
      return await work(client)
    } catch (error) {
      if (error instanceof Failure && error.kind === 'unavailable') broken = error
      throw error
    } finally {
      outage.removeEventListener('abort', giveUp)
      client.off('error', lost)
      release(broken)
    }
  }

  async function checkOut(outage: AbortSignal): Promise<pg.PoolClient> {
    if (outage.aborted) throw doesNotAnswer()
    const connecting = pool.connect()
    let giveUp = (): void => {}
    try {
      return await new Promise<pg.PoolClient>((resolve, reject) => {
        giveUp = () => {
          reject(doesNotAnswer())
          connecting.then(
            (client) => client.release(),
            () => {},
          )
        }
        outage.addEventListener('abort', giveUp, { once: true })
        connecting.then(resolve, reject)
      })
    } catch (error) {
      throw databaseFailure(error)
    } finally {
      outage.removeEventListener('abort', giveUp)
    }
  }

  return {
    query: async <Row extends object>(statement: Statement) =>
      await withClient(async (client) => await run<Row>(client, statement)),

    transaction: async (work) =>
      await withClient(async (client) => {
        await run(client, plain('begin'))
        try {
          const result = await work({ query: async (statement) => await run(client, statement) })
          await run(client, plain('commit'))
          return result
        } catch (error) {
          // A failed rollback means a dead connection, which the server rolls back by itself.
          await run(client, plain('rollback')).catch(() => {})
          throw error
        }
      }),

    exclusively: async (name, work) =>
      await withClient(async (client) => {
        const key = sql`select pg_try_advisory_lock(hashtext(${name})) as "held"`
        const [row] = await run<{ held: boolean }>(client, key)
        if (row?.held !== true) return false
        try {
          await work()
        } finally {
          await run(client, sql`select pg_advisory_unlock(hashtext(${name}))`)
        }
        return true
      }),

    state: () => ({
      inUse: pool.totalCount - pool.idleCount,
      most: mostConnections,
      waiting: pool.waitingCount,
      hangs,
      isHanging: watch.outage.aborted,
    }),

    close: async () => {
      await watch.close()
      await pool.end()
    },
  }
}

/** Without values the text goes as it is, in one message. */
function plain(text: string): Statement {
  return { text, values: [] }
}

async function run<Row extends object>(
  client: pg.ClientBase,
  statement: Statement,
): Promise<Row[]> {
  try {
    const result = await client.query<Row>({ ...statement, values: [...statement.values] })
    return result.rows
  } catch (error) {
    throw databaseFailure(error)
  }
}

/** SQLSTATE classes and socket errors that say "not now" rather than "wrong". */
const passingCodes = /^(?:08...|53...|57P0[123]|57014|55P03|40001|40P01)$/
const passingErrno = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOENT', 'EPIPE', 'ETIMEDOUT'])

function databaseFailure(error: unknown): unknown {
  if (error instanceof Failure) return error
  const { code, message } = error as { code?: string; message?: string }
  if (code === '22021' || code === '22P05') {
    return invalid('request', 'A text holds characters that cannot be stored (NUL).', error)
  }
  if (code === '23503' || code === '23505') {
    const text = 'Somebody else changed this at the same moment: try again.'
    return new Failure('conflict', 'database', text, { cause: error })
  }
  const passing =
    code === undefined
      ? /timeout exceeded when trying to connect|Connection terminated|Client has encountered/.test(
          message ?? '',
        )
      : passingCodes.test(code) || passingErrno.has(code)
  return passing ? doesNotAnswer(error) : error
}

function doesNotAnswer(cause?: unknown): Failure {
  const text = 'The database does not answer: try again shortly.'
  return new Failure('unavailable', 'database', text, { cause })
}
