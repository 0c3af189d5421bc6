/** A database of its own for each test file, on the cluster of the run or one of its own. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import pg from 'pg'

import { makeDataDirectory, openEmbeddedPostgres } from '../../server/embedded-postgres.ts'
import { createLog } from '../../server/log.ts'

/** Names the socket directory of the run's cluster (test/run.ts). */
export const postgresVariable = 'BERTH_TEST_POSTGRES'

/** What is lost when the machine goes down does not matter here. */
export const throwAwaySettings = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '200',
}

export interface TestDatabase {
  readonly url: string
  drop(): Promise<void>
}

export async function createTestDatabase(): Promise<TestDatabase> {
  const cluster = await openCluster()
  const name = `test_${randomBytes(8).toString('hex')}`
  await administer(cluster.socketDir, `create database ${name}`)
  return {
    url: `postgres://berth@localhost/${name}?host=${encodeURIComponent(cluster.socketDir)}`,
    drop: async () => {
      await administer(cluster.socketDir, `drop database ${name} with (force)`)
      await cluster.close()
    },
  }
}

async function openCluster(): Promise<{ socketDir: string; close: () => Promise<void> }> {
  const running = process.env[postgresVariable]
  if (running !== undefined) return { socketDir: running, close: async () => {} }
  const directory = mkdtempSync(join(tmpdir(), 'berth-pg-'))
  makeDataDirectory(join(directory, 'data'))
  const root = join(directory, 'data/postgres')
  const postgres = await openEmbeddedPostgres(root, createLog('error'), {
    settings: throwAwaySettings,
  })
  return {
    socketDir: postgres.address.socketDir ?? '',
    close: async () => {
      await postgres.leave()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function administer(socketDir: string, statement: string): Promise<void> {
  const client = new pg.Client({ host: socketDir, user: 'berth', database: 'postgres' })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
