/** The real server on a real port with a real database, wired as server/main.ts wires it. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'

import { pino } from 'pino'

import { addAccount, findAccount, hostOperator } from '../../server/accounts/accounts.ts'
import { createApp, createSockets } from '../../server/app.ts'
import { openAppliance } from '../../server/appliance.ts'
import type { Appliance, ApplianceOptions } from '../../server/appliance.ts'
import type { OutputSocketTimes } from '../../server/build-api/output-sockets.ts'
import { makeConfig } from '../../server/config.ts'
import { sql } from '../../server/database.ts'
import type { Db } from '../../server/database.ts'
import { newId } from '../../server/identifiers.ts'
import { listen } from '../../server/listener.ts'
import { Client } from './client.ts'
import { freePort } from './free-port.ts'
import { createTestDatabase } from './postgres.ts'

export interface TestServer {
  readonly url: string
  readonly appliance: Appliance
  readonly db: Db
  readonly dataDir: string
  /** Somebody who is not signed in. */
  readonly anonymous: Client
  /** Everything that was logged so far, one JSON object a line. */
  log(): string
  /** A new account with a token; the password is `<name>-password`. */
  account(name: string, options?: { isAdmin?: boolean }): Promise<Client>
  /** The same without a password, as for accounts of a directory: quick to make. */
  user(name: string, options?: { isAdmin?: boolean }): Promise<Client>
  /** Another token for an account that there is. */
  signIn(name: string): Promise<Client>
  /** Ends this server and starts another on the same data; the port changes. */
  restart(): Promise<TestServer>
}

export interface TestServerOptions {
  /** Settings as in berth.toml. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** For tests that leave an upload open on purpose. */
  readonly leavesUploads?: boolean
  /** For tests whose other processes have to find the server again after a restart. */
  readonly port?: number
  readonly queueTimes?: ApplianceOptions['queueTimes']
  readonly socketTimes?: OutputSocketTimes
}

/** A test's context, or `{ after }` of node:test for a server that all tests of a file share. */
export interface Lifetime {
  after(work: () => Promise<void>): void
}

/** Closes with the test, and then asserts that no upload and no incoming file is left. */
export async function startServer(
  t: Lifetime,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-data-'))
  const database = await createTestDatabase()
  const settings = {
    data_dir: join(directory, 'data'),
    database: { url: database.url },
    storage: { keep_free: 0 },
    ...options.settings,
  }
  const running: { current: Running | undefined } = { current: undefined }

  async function open(): Promise<TestServer> {
    const server = await run(settings, options)
    running.current = server
    return {
      ...server,
      restart: async () => {
        await server.close()
        return await open()
      },
    }
  }

  t.after(async () => {
    const server = running.current
    try {
      if (server && options.leavesUploads !== true) await assertNothingLeft(server)
    } finally {
      await server?.close()
      await database.drop()
      rmSync(directory, { recursive: true, force: true })
    }
  })
  return await open()
}

interface Running extends Omit<TestServer, 'restart'> {
  close(): Promise<void>
}

async function run(
  settings: Readonly<Record<string, unknown>>,
  options: TestServerOptions,
): Promise<Running> {
  const lines: string[] = []
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(chunk.toString())
      done()
    },
  })
  const log = pino({ level: 'debug' }, sink)
  // The port is known only after listening, and addresses in replies come from the configuration.
  const port = options.port ?? (await freePort())
  const config = makeConfig({
    listen: `127.0.0.1:${port}`,
    public_url: `http://127.0.0.1:${port}`,
    ...settings,
  })
  const appliance = await openAppliance(config, log, { queueTimes: options.queueTimes })
  await appliance.uploads.recover()
  const { idleSeconds } = config.uploads
  const sockets = createSockets(appliance, options.socketTimes)
  const listener = await listen(createApp(appliance), { ...config.listen, idleSeconds, sockets })
  if (config.builder.enabled) appliance.builder.queue.start()
  const url = config.publicUrl
  const { database } = appliance

  async function signedIn(accountId: string, name: string, isAdmin: boolean): Promise<Client> {
    const who = { ...hostOperator, accountId, name, isAdmin, address: 'test' }
    const { token, id } = await appliance.tokens.issue(who, 'test')
    return new Client(url, { name, accountId, token, tokenId: id })
  }

  return {
    url,
    appliance,
    db: database,
    dataDir: config.dataDir,
    anonymous: new Client(url, undefined),
    log: () => lines.join(''),
    account: async (name, options = {}) => {
      const isAdmin = options.isAdmin ?? false
      const password = `${name}-password`
      const account = await addAccount(database, hostOperator, { name, password, isAdmin })
      return await signedIn(account.id, name, isAdmin)
    },
    user: async (name, options = {}) => {
      const isAdmin = options.isAdmin ?? false
      const id = newId()
      await database.query(
        sql`insert into accounts (id, name, is_admin) values (${id}, ${name}, ${isAdmin})`,
      )
      return await signedIn(id, name, isAdmin)
    },
    signIn: async (name) => {
      const account = await findAccount(database, name)
      assert.ok(account, `there is no account ${name}`)
      return await signedIn(account.id, name, account.isAdmin)
    },
    close: async () => {
      appliance.builder.release()
      await listener.close(1000)
      await appliance.close()
    },
  }
}

async function assertNothingLeft(server: Running): Promise<void> {
  const open = await server.db.query(sql`select id from uploads`)
  assert.deepEqual(open, [], 'an upload was left open')
  const files = readdirSync(join(server.dataDir, 'store/incoming'))
  assert.deepEqual(files, [], 'incoming files were left behind')
  await assertLedger(server.db)
}

/** Waits for a state that a request brings about after its connection has gone; a busy machine takes long. */
export async function eventually(
  isSo: () => Promise<boolean>,
  what: string,
  deadlineMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + deadlineMs
  while (!(await isSo())) {
    if (Date.now() > deadline) assert.fail(`not within ${deadlineMs} ms: ${what}`)
    await setTimeout(20)
  }
}

/** used = sum of the distinct linked blobs and the charged manifests, reserved = sum of the open uploads, for every entity. */
export async function assertLedger(db: Db): Promise<void> {
  const wrong = await db.query(sql`
    select name, used_bytes, reserved_bytes from entities e
    where used_bytes <> (select coalesce(sum(size), 0) from blobs
        where digest in (select digest from repository_blobs l where l.entity_id = e.id))
        + (select coalesce(sum(charged_bytes), 0) from manifests m
          join repositories r on r.id = m.repository_id where r.entity_id = e.id)
      or reserved_bytes <> (select coalesce(sum(reserved_bytes), 0) from uploads u
        where u.entity_id = e.id)`)
  assert.deepEqual(wrong, [], 'the quota ledger drifted')
}
