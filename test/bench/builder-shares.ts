/** 200 queued builds of 10 people, through the real queue and with a runner that builds nothing. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { openAppliance } from '../../server/appliance.ts'
import type { Appliance } from '../../server/appliance.ts'
import { makeConfig } from '../../server/config.ts'
import { sql } from '../../server/database.ts'
import { newId } from '../../server/identifiers.ts'
import { createLog } from '../../server/log.ts'
import { builderSettings, definitionOf } from '../support/builds.ts'
import { startOwnServer } from './berth.ts'
import { call } from './call.ts'

const people = 10
const each = 20
const slots = 4
const deadlineMs = 600_000

export interface SharesResult {
  readonly builds: number
  readonly people: number
  /** From the first free slot to the last end. */
  readonly seconds: number
  /** At each quarter: the furthest that anybody's share is from a fair one, in percent of that. */
  readonly offPercent: readonly number[]
}

export async function measureShares(directory: string): Promise<SharesResult> {
  const [{ runner } = { runner: [] }] = (
    builderSettings() as { builders: { runner: readonly string[] }[] }
  ).builders
  const builder = `
[builder]
enabled = true
running_per_user = ${slots}
queued_per_user = ${each}
[[builder.builders]]
name = "here"
archs = ["amd64"]
slots = ${slots}
runner = ${JSON.stringify(runner)}
`
  const { origin, dataDirectory, server } = await startOwnServer(directory, builder)
  try {
    // Beside the running server, as berthctl: for accounts and to see what became of the builds.
    const config = makeConfig({ data_dir: dataDirectory, public_url: origin })
    const appliance = await openAppliance(config, createLog('silent'))
    try {
      return await run(appliance, origin, join(directory, 'gate'))
    } finally {
      await appliance.close()
    }
  } finally {
    await server.stop()
  }
}

async function run(appliance: Appliance, origin: string, gate: string): Promise<SharesResult> {
  const { database } = appliance
  const submit = async (token: string, step: string): Promise<void> => {
    const definitionRaw = Buffer.from(definitionOf(step)).toString('base64')
    const headers = { Authorization: `Bearer ${token}` }
    const json = { definitionRaw, libraryRef: '' }
    await call('POST', `${origin}/v1/build`, { headers, json, accept: [201] })
  }
  // Somebody has all slots until everything is handed in, one person after the other.
  const keeper = await tokenOf(appliance, 'keeper')
  for (let slot = 0; slot < slots; slot += 1) await submit(keeper, `wait-for ${gate}`)
  for (let person = 0; person < people; person += 1) {
    const token = await tokenOf(appliance, `user${person}`)
    for (let count = 0; count < each; count += 1) await submit(token, 'fail as planned')
  }
  const startedAt = performance.now()
  await writeFile(gate, '')
  for (;;) {
    const open = await database.query(sql`select 1 from builds where ended_at is null limit 1`)
    if (open.length === 0) break
    if (performance.now() - startedAt > deadlineMs) throw new Error('the builds do not end')
    await delay(200)
  }
  const seconds = (performance.now() - startedAt) / 1000
  const rows = await database.query<{ name: string }>(sql`
    select a.name from builds b join accounts a on a.id = b.account_id
    where a.name <> 'keeper' order by b.started_at, b.id`)
  const names = rows.map(({ name }) => name)
  const offPercent = [1, 2, 3, 4].map((quarter) => {
    const first = names.slice(0, (names.length * quarter) / 4)
    const fair = first.length / people
    const off = [...new Set(names)].map(
      (name) => Math.abs(first.filter((one) => one === name).length - fair) / fair,
    )
    return 100 * Math.max(...off)
  })
  return { builds: names.length, people, seconds, offPercent }
}

async function tokenOf({ database, tokens }: Appliance, name: string): Promise<string> {
  const accountId = newId()
  await database.query(sql`insert into accounts (id, name) values (${accountId}, ${name})`)
  const who = { ...hostOperator, accountId, name, isAdmin: false }
  return (await tokens.issue(who, 'bench')).token
}
