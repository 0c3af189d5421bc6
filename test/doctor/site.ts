/** A site as it should be: PostgreSQL that keeps what it says, TLS on 443, a proxy that is right. */
import { randomInt } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { stringify } from 'smol-toml'

import type { Finding } from '../../admin-cli/doctor/check.ts'
import { examine } from '../../admin-cli/doctor/examine.ts'
import type { ExamineOptions } from '../../admin-cli/doctor/examine.ts'
import { sql } from '../../server/database.ts'
import { makeDataDirectory, openEmbeddedPostgres } from '../../server/embedded-postgres.ts'
import { createLog } from '../../server/log.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import { startHttpFront } from '../support/http-front.ts'
import type { HttpFront } from '../support/http-front.ts'
import { startServer } from '../support/server.ts'
import type { Lifetime, TestServer } from '../support/server.ts'

type Settings = Readonly<Record<string, unknown>>

export interface DoctorSite {
  readonly directory: string
  readonly address: string
  readonly server: TestServer
  readonly front: HttpFront
  readonly serverPort: number
  readonly authority: CertificateAuthority
  readonly caFile: string
  readonly settings: Settings
  /** Writes a configuration with keys in the place of the site's; undefined takes one out. */
  write(changes?: Settings): string
  /** The names of what is wrong, with all there is to say of it. */
  look(options?: LookOptions): Promise<Map<string, Finding>>
}

export interface LookOptions extends Partial<Omit<ExamineOptions, 'env'>> {
  readonly changes?: Settings
  /** A configuration file as it is; `changes` are not looked at then. */
  readonly file?: string
}

export const isRoot = process.getuid?.() === 0
/** What production has; the tests may run on less. */
const goodHost = { nodeVersion: 'v24.11.0', openFiles: 65_536 }

export async function startDoctorSite(lifetime: Lifetime): Promise<DoctorSite> {
  // What was started last ends first: the server before its database.
  const endings: (() => Promise<void>)[] = []
  const t: Lifetime = { after: (work) => void endings.unshift(work) }
  lifetime.after(async () => {
    for (const end of endings) await end()
  })
  const directory = mkdtempSync(join(tmpdir(), 'berth-doctor-'))
  t.after(async () => rmSync(directory, { recursive: true, force: true }))
  makeDataDirectory(join(directory, 'cluster'))
  const postgres = await openEmbeddedPostgres(
    join(directory, 'cluster/postgres'),
    createLog('silent'),
  )
  t.after(async () => await postgres.leave())
  const socket = encodeURIComponent(postgres.address.socketDir ?? '')
  const authority = new CertificateAuthority(directory)
  const address = `127.${[1, 2, 3].map(() => randomInt(1, 255)).join('.')}`
  const { keyFile, certificateFile } = authority.issue('front', `IP:${address}`, 90)
  const serverPort = await freePort()
  const front = await startHttpFront(t, {
    address,
    // Below 1024 it takes root.
    port: isRoot ? 443 : 0,
    serverPort,
    key: readFileSync(keyFile),
    cert: readFileSync(certificateFile),
  })
  const shared = {
    public_url: `https://${address}${front.port === 443 ? '' : `:${front.port}`}`,
    database: { url: `postgres://berth@localhost/berth?host=${socket}` },
    storage: { keep_free: '1 MiB' },
  }
  const server = await startServer(t, { settings: shared, port: serverPort })
  const settings = { ...shared, data_dir: server.dataDir, listen: `127.0.0.1:${serverPort}` }
  await recordBackup(server)
  let files = 0
  const write = (changes: Settings = {}): string => {
    const file = join(directory, `${(files += 1)}.toml`)
    const all = Object.entries({ ...settings, ...changes })
    const kept = all.filter(([, value]) => value !== undefined)
    writeFileSync(file, stringify(Object.fromEntries(kept)), { mode: 0o600 })
    return file
  }
  return {
    directory,
    address,
    server,
    front,
    serverPort,
    authority,
    caFile: authority.caFile,
    settings,
    write,
    look: async ({ changes, file, ...options } = {}) => {
      const findings = await examine({
        holdSeconds: 0,
        patienceMs: 30_000,
        ca: readFileSync(authority.caFile, 'utf8'),
        ...options,
        host: { ...goodHost, ...options.host },
        env: { BERTH_CONFIG: file ?? write(changes) },
      })
      const wrong = findings.filter(({ state }) => state === 'fault' || state === 'warning')
      return new Map(wrong.map((finding) => [finding.check, finding]))
    },
  }
}

/** A site without a backup is not as it should be. */
async function recordBackup({ db }: TestServer): Promise<void> {
  await db.query(sql`
    insert into backups (id, name, directory, ended_at, outcome)
    values (${'0'.repeat(24)}, 'good', '/var/backups/berth', now(), 'complete')`)
}
