/**
 * kill -9 in the middle of pushes, tags and deletions, again and again: what was acknowledged is
 * there byte by byte, what was deleted stays deleted, the ledger is exact, no file is left over.
 * BERTH_CRASH_CYCLES sets how often (8 by default).
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { openAppliance } from '../../server/appliance.ts'
import { makeConfig } from '../../server/config.ts'
import { sql } from '../../server/database.ts'
import { createLog } from '../../server/log.ts'
import { libraryHash, sha256 } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { signInAs, startProcess } from '../support/process.ts'
import { assertLedger } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const cycles = Number(process.env['BERTH_CRASH_CYCLES'] ?? 8)
const writers = 4

/** What clients were told, by container path: the bytes, or undefined after a deletion. */
type Acknowledged = Map<string, Buffer | undefined>

test(`nothing acknowledged is lost in ${cycles} kills`, { timeout: 300_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-crash-'))
  const dataDir = join(directory, 'data')
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const port = await freePort()
  const acknowledged: Acknowledged = new Map()
  let admin: Client | undefined

  for (let cycle = 0; cycle < cycles; cycle += 1) {
    const server = await startProcess({ dataDir, port })
    admin ??= await signInAs(server.url, 'admin', server.password ?? '')
    const client = admin
    await verify(client, acknowledged)
    let pushes = 0
    // The kill comes after a number of acknowledged pushes that differs from cycle to cycle.
    let enough = (): void => {}
    const reached = new Promise<void>((resolve) => (enough = resolve))
    const work = Array.from({ length: writers }, async (_, writer) => {
      for (let turn = 0; turn < 200; turn += 1) {
        const path = `admin/crash/c${cycle}-${writer}-${turn}`
        await pushAndSometimesDelete(client, path, turn % 3 === 2, acknowledged)
        pushes += 1
        if (pushes > 5 + cycle * 3) enough()
      }
    })
    await Promise.race([reached, ...work])
    await server.end('SIGKILL')
    await Promise.allSettled(work)
  }

  const server = await startProcess({ dataDir, port })
  await verify(admin as Client, acknowledged)
  assert.equal(await server.end('SIGTERM'), 0)
  assert.ok(acknowledged.size > cycles * 5)
  await verifyStore(dataDir, port)
})

async function pushAndSometimesDelete(
  client: Client,
  path: string,
  deletes: boolean,
  acknowledged: Acknowledged,
): Promise<void> {
  const sif = makeSif({ seed: path, payload: 20_000 })
  const pushed = await client.push(path, 'latest', sif)
  assert.equal(pushed.status, 200, pushed.body.toString())
  acknowledged.set(path, sif)
  if (!deletes) return
  // Between the request and its answer either state is right.
  acknowledged.delete(path)
  const deleted = await client.delete(`/v1/images/${path}:${libraryHash(sif)}`)
  assert.equal(deleted.status, 200, deleted.body.toString())
  acknowledged.set(path, undefined)
}

async function verify(client: Client, acknowledged: Acknowledged): Promise<void> {
  for (const [path, sif] of acknowledged) {
    const reply = await client.get(`/v1/imagefile/${path}:latest?arch=amd64`)
    if (sif === undefined) assert.equal(reply.status, 404, `${path} came back`)
    else assert.equal(sha256(reply.body), sha256(sif), `${path} is lost or damaged`)
  }
}

/** Looks below the API: the ledger, and every file against its name. */
async function verifyStore(dataDir: string, port: number): Promise<void> {
  const config = makeConfig({ data_dir: dataDir, listen: `127.0.0.1:${port}` })
  const appliance = await openAppliance(config, createLog('silent'))
  try {
    await appliance.uploads.recover()
    await assertLedger(appliance.database)
    // An upload that had arrived waits for its `_complete`; a file that nothing knows is left over.
    const open = await appliance.database.query<{ id: string }>(sql`select id from uploads`)
    const files = readdirSync(join(dataDir, 'store/incoming'))
    assert.deepEqual(files.sort(), open.map(({ id }) => id).sort())
  } finally {
    await appliance.close()
  }
}
