/** A site with something in it, and the programs that look at it as `singularity enterprise` does. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import { sql } from '../../server/database.ts'
import { packageRoot } from '../../server/package-root.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { finish } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'
import { goProgram, withoutGo } from './go-program.ts'

export interface Program {
  readonly name: string
  readonly skip: false | string
  readonly command: () => readonly string[]
}

const singularity = process.env['BERTH_SINGULARITY'] ?? 'singularity'
const hasPlugin = spawnSync(singularity, ['enterprise', 'version']).status === 0

export const programs: readonly Program[] = [
  {
    name: 'the stock plugin',
    skip: hasPlugin ? false : 'SingularityCE 4.6 with its enterprise plugin is not installed',
    command: () => [singularity, 'enterprise'],
  },
  {
    name: "Berth's own",
    skip: false,
    command: () => [join(packageRoot, 'admin-cli/bin/berth-singularity'), 'enterprise'],
  },
  {
    name: 'enterprise-driver',
    skip: withoutGo,
    command: () => [goProgram('enterprise-driver')],
  },
]

export const bwa = makeSif({
  seed: 'bwa',
  arch: 'arm64',
  payload: 1_100_000,
  signatures: [{ fingerprint: 'a'.repeat(40) }],
})
export const old = makeSif({ seed: 'old', payload: 2_000_000 })
export const current = makeSif({ seed: 'current', payload: 3_000_000 })
export const encrypted = makeSif({ seed: 'resnet', payload: 20_000_000, encrypted: true })

type Run = (...args: string[]) => Promise<Outcome>

export interface Site {
  readonly server: TestServer
  readonly client: Client
  readonly alice: Run
  readonly root: Run
  /** Without a token. */
  readonly nobody: Run
  readonly ids: { readonly tokens: readonly [string, string]; readonly rootToken: string }
}

export async function openSite(t: TestContext, program: Program): Promise<Site> {
  const server = await startServer(t)
  const client = await server.user('alice')
  const runner = await server.signIn('alice')
  const admin = await server.user('root', { isAdmin: true })
  await client.push('alice/tools/bwa', undefined, bwa)
  await client.tag('alice/tools/bwa', '0.7.18', bwa, 'arm64')
  await client.tag('alice/tools/bwa', 'latest', bwa, 'arm64')
  await client.push('alice/tools/samtools', '1.19', old)
  await client.push('alice/tools/samtools', '1.20', current)
  await client.tag('alice/tools/samtools', 'latest', current)
  await client.push('alice/models/resnet50', undefined, encrypted)
  const tokens = [client.credentials?.tokenId ?? '', runner.credentials?.tokenId ?? ''] as const
  await settle(server, tokens)
  const run = (token: string | undefined): Run => runnerFor(t, program, server.url, token)
  return {
    server,
    client,
    alice: run(client.credentials?.token),
    root: run(admin.credentials?.token),
    nobody: run(undefined),
    ids: { tokens, rootToken: admin.credentials?.tokenId ?? '' },
  }
}

/** Times, counters and texts as the tables below show them. */
async function settle({ db }: TestServer, tokens: readonly string[]): Promise<void> {
  const [laptop, runner] = tokens
  await db.query(sql`
    update accounts set email = 'alice@site.example', created_at = '2026-01-01T00:00Z'
    where name = 'alice'`)
  await db.query(
    sql`update entities set created_at = '2026-01-01T00:00Z', updated_at = '2026-01-01T00:00Z'`,
  )
  await db.query(
    sql`update repositories set created_at = '2026-03-03T03:00Z', updated_at = '2026-03-03T03:00Z'`,
  )
  for (const [path, downloads, description] of [
    ['alice/tools/bwa', 7, 'Burrows-Wheeler aligner'],
    ['alice/tools/samtools', 12, 'SAM/BAM utilities built for the site module tree 2026'],
  ] as const) {
    await db.query(sql`
      update repositories set download_count = ${downloads}, description = ${description}
      where path = ${path}`)
  }
  for (const [id, label, month] of [
    [laptop, 'laptop', '01'],
    [runner, 'ci runner', '02'],
  ]) {
    await db.query(sql`
      update tokens set label = ${label}, issued_at = ${`2026-${month}-10T09:00Z`},
        expires_at = ${`2126-${month}-10T09:00Z`}
      where id = ${id}`)
  }
}

/** Runs the program as a user with this remote.yaml and no other configuration. */
function runnerFor(t: TestContext, program: Program, url: string, token: string | undefined): Run {
  const directory = mkdtempSync(join(tmpdir(), 'berth-enterprise-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const entry = [
    `    URI: ${url}`,
    '    Insecure: true',
    ...(token === undefined ? [] : [`    Token: ${token}`]),
  ]
  writeFileSync(
    join(directory, 'remote.yaml'),
    ['Active: site', 'Remotes:', '  site:', ...entry, ''].join('\n'),
    { mode: 0o600 },
  )
  const env = { PATH: process.env['PATH'], TZ: 'UTC', SINGULARITY_CONFIGDIR: directory }
  return async (...args) => {
    const [command = '', ...before] = program.command()
    return await finish(command, [...before, ...args], 60, env)
  }
}
