/**
 * One fault at a time, each a real one, in a site that is well otherwise: it is named, with the fix, and
 * nothing else is blamed for it but what follows from it.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import pg from 'pg'

import { raiseAlarm } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { makeDataDirectory, openEmbeddedPostgres } from '../../server/embedded-postgres.ts'
import { createLog } from '../../server/log.ts'
import { siteTable } from '../directory/ldap.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import type { Certificate } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import { startOtherSite } from '../support/http-front.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { startServer } from '../support/server.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { isRoot, startDoctorSite } from './site.ts'
import type { LookOptions } from './site.ts'

const site = await startDoctorSite({ after })
const { server, front, directory } = site
const dataDir = server.dataDir
const store = join(dataDir, 'store')
const slapd = skipSlapd === false ? await startSlapd({ after }) : undefined

interface Fault {
  /** What must be named, and nothing else. */
  readonly found: readonly string[]
  /** Makes it, and says how the site is looked at; what it gives to `undo` is done afterwards. */
  readonly inject: (
    undo: (work: () => unknown) => void,
  ) => LookOptions | undefined | void | Promise<LookOptions | undefined | void>
  readonly needs?: 'root' | 'slapd'
}

/** Read-only, full, and without inodes takes a file system of its own. */
const mounted = (place: string, options: string, undo: (work: () => unknown) => void): void => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'none', place], { stdio: 'pipe' })
  undo(() => execFileSync('umount', [place], { stdio: 'pipe' }))
}

const modeOf = (file: string, mode: number, undo: (work: () => unknown) => void): void => {
  const before = statSync(file).mode & 0o777
  chmodSync(file, mode)
  undo(() => chmodSync(file, before))
}

const contentOf = (file: string, text: string, undo: (work: () => unknown) => void): void => {
  const before = readFileSync(file)
  writeFileSync(file, text)
  undo(() => writeFileSync(file, before))
}

const certificateOf = (certificate: Certificate, undo: (work: () => unknown) => void): void => {
  const read = ({ keyFile, certificateFile }: Certificate) => ({
    key: readFileSync(keyFile),
    cert: readFileSync(certificateFile),
  })
  front.setCertificate(read(certificate))
  undo(() => front.setCertificate(read(site.authority.issue('front', `IP:${site.address}`, 90))))
}

const through = (
  faults: Parameters<typeof front.setFaults>[0],
  undo: (work: () => unknown) => void,
) => {
  front.setFaults(faults)
  undo(() => front.setFaults({}))
}

const people = (more: Readonly<Record<string, unknown>> = {}) => ({
  directory: {
    ...siteTable(slapd as Slapd, {
      // Without TLS, to this machine only: its certificates are another matter.
      servers: [(slapd as Slapd).url],
      allow_plain: true,
      ca_file: undefined,
      server_name: undefined,
      timeout_seconds: 20,
      ...more,
    }),
  },
})

if (slapd !== undefined) {
  siteTable(slapd)
  // Whoever writes this file as any other would hear of it here.
  chmodSync(join(slapd.directory, 'service-password'), 0o600)
}

const secure = (more: Readonly<Record<string, unknown>> = {}) => ({
  directory: { ...siteTable(slapd as Slapd, { timeout_seconds: 20, ...more }) },
})

/** By an authority that the trusted one has made, and without that one's certificate beside it. */
const leafAlone = (): Certificate => {
  const between = site.authority.issue(
    'between',
    'DNS:between\nbasicConstraints=critical,CA:TRUE',
    2,
  )
  const path = (kind: string): string => join(directory, `leaf.${kind}`)
  const openssl = (...args: readonly string[]): unknown =>
    execFileSync('openssl', args, { stdio: 'ignore' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-new', ...key, '-subj', '/CN=leaf', '-keyout', path('key'), '-out', path('csr'))
  writeFileSync(path('ext'), `subjectAltName=IP:${site.address}\n`)
  const signer = ['-CA', between.certificateFile, '-CAkey', between.keyFile, '-CAcreateserial']
  const what = ['-in', path('csr'), '-extfile', path('ext'), '-days', '90']
  openssl('x509', '-req', ...what, ...signer, '-out', path('pem'))
  return { keyFile: path('key'), certificateFile: path('pem') }
}

/** A database of its own: of another encoding, or with nothing in it. */
const freshDatabase = async (
  how: string,
  undo: (work: () => unknown) => void,
): Promise<LookOptions> => {
  const { url } = site.settings['database'] as { url: string }
  const name = `fresh_${Date.now()}`
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(`create database ${name} ${how}`)
  undo(async () => {
    await client.query(`drop database ${name} with (force)`)
    await client.end()
  })
  return { changes: { database: { url: url.replace('/berth?', `/${name}?`) } } }
}

const faults: Readonly<Record<string, Fault>> = {
  'an unknown key': {
    found: ['configuration-key'],
    inject: () => ({ changes: { storrage: { keep_free: '1 GiB' } } }),
  },
  'a value of the wrong kind': {
    found: ['configuration-value'],
    inject: () => ({ changes: { quota: { default: 'much' } } }),
  },
  'a configuration that everybody may write': {
    found: ['configuration-permissions'],
    inject: () => {
      const file = site.write()
      chmodSync(file, 0o666)
      return { file }
    },
  },
  'a public address without TLS that is nowhere': {
    found: ['public-answers', 'public-tls'],
    inject: () => ({ changes: { public_url: 'http://nowhere.invalid' } }),
  },
  'a public address with a port, where nobody listens': {
    found: ['public-answers', 'public-port'],
    inject: async () => ({ changes: { public_url: `https://127.0.0.9:${await freePort()}` } }),
  },
  'a listener for all networks': {
    found: ['listen-address'],
    inject: () => ({ changes: { listen: '0.0.0.0:5080' } }),
  },
  'figures for all networks': {
    found: ['metrics-address'],
    inject: () => ({ changes: { metrics: { listen: '0.0.0.0:9180' } } }),
  },
  'pulls without signing in, where few may sign in': {
    found: ['anonymous-pull'],
    inject: () => ({ changes: { groups: { allowed: ['staff'] } } }),
  },
  'no reserve on the disk': {
    found: ['disk-reserve-setting'],
    inject: () => ({ changes: { storage: { keep_free: 0 } } }),
  },
  'the embedded database on a host for people': {
    found: ['embedded-database'],
    inject: () => ({ changes: { database: undefined } }),
  },
  'a data directory that is not there': {
    found: ['data-directory', 'store-marker'],
    inject: () => ({ changes: { data_dir: join(directory, 'elsewhere') } }),
  },
  'a data directory of another account': {
    needs: 'root',
    found: ['data-owner'],
    inject: (undo) => {
      chownSync(dataDir, 65_534, 65_534)
      undo(() => chownSync(dataDir, 0, 0))
    },
  },
  'a data directory for everybody': {
    found: ['data-permissions'],
    inject: (undo) => modeOf(dataDir, 0o777, undo),
  },
  'uploads on another file system than images': {
    needs: 'root',
    found: ['data-one-file-system'],
    inject: (undo) => mounted(join(store, 'incoming'), 'size=1m', undo),
  },
  'a store that is mounted read-only': {
    needs: 'root',
    found: ['data-writable'],
    inject: (undo) => {
      execFileSync('mount', ['--bind', store, store], { stdio: 'pipe' })
      undo(() => execFileSync('umount', [store], { stdio: 'pipe' }))
      execFileSync('mount', ['-o', 'remount,bind,ro', store], { stdio: 'pipe' })
    },
  },
  'a secret that others can read': {
    found: ['secret-permissions'],
    inject: (undo) => modeOf(join(dataDir, 'secrets/capability-key'), 0o644, undo),
  },
  'a signing key that is none': {
    found: ['signing-key'],
    inject: (undo) => contentOf(join(dataDir, 'secrets/token-signing-key.pem'), 'broken\n', undo),
  },
  'a signing key that is gone': {
    found: ['signing-key'],
    inject: (undo) => {
      const file = join(dataDir, 'secrets/token-signing-key.pem')
      renameSync(file, `${file}.aside`)
      undo(() => renameSync(`${file}.aside`, file))
    },
  },
  'a capability key that is none': {
    found: ['capability-key'],
    inject: (undo) => contentOf(join(dataDir, 'secrets/capability-key'), 'short\n', undo),
  },
  'a disk below the reserve': {
    found: ['disk-reserve'],
    inject: () => ({ changes: { storage: { keep_free: '8000 TiB' } } }),
  },
  'a disk that is nearly full, and not that of the images': {
    needs: 'root',
    found: ['disk-space', 'store-marker'],
    inject: (undo) => {
      mounted(store, 'size=40m,mode=0700', undo)
      execFileSync('fallocate', ['-l', '38m', join(store, 'file')], { stdio: 'pipe' })
    },
  },
  'a disk without inodes': {
    needs: 'root',
    found: ['disk-inodes', 'store-marker'],
    inject: (undo) => {
      mounted(store, 'size=40m,nr_inodes=20,mode=0700', undo)
      for (let number = 0; number < 18; number += 1) writeFileSync(join(store, `${number}`), '')
    },
  },
  'a store without its marker': {
    found: ['store-marker'],
    inject: (undo) => {
      const file = join(store, 'store.json')
      renameSync(file, `${file}.aside`)
      undo(() => renameSync(`${file}.aside`, file))
    },
  },
  'the store of another site': {
    found: ['store-foreign'],
    inject: (undo) =>
      contentOf(join(store, 'store.json'), '{"storeId":"another","layout":1}\n', undo),
  },
  'a database that is down': {
    found: ['database-reachable'],
    inject: async () => {
      const url = `postgres://berth@127.0.0.1:${await freePort()}/berth`
      return { changes: { database: { url } } }
    },
  },
  'a database that is empty, in another encoding': {
    found: ['database-encoding', 'database-extension', 'database-migrations'],
    inject: async (undo) =>
      await freshDatabase("template template0 encoding 'SQL_ASCII' locale 'C'", undo),
  },
  'a database that is empty': {
    found: ['database-extension', 'database-migrations'],
    inject: async (undo) => await freshDatabase('', undo),
  },
  'a database that forgets at a power cut': {
    found: [
      'database-extension',
      'database-fsync',
      'database-full-page-writes',
      'database-migrations',
      'database-synchronous-commit',
    ],
    inject: async (undo) => {
      const empty = await createTestDatabase()
      undo(async () => await empty.drop())
      return { changes: { database: { url: empty.url } } }
    },
  },
  'a database for few connections': {
    found: ['database-connections', 'database-extension', 'database-migrations'],
    inject: async (undo) => {
      const place = mkdtempSync(join(tmpdir(), 'berth-few-'))
      makeDataDirectory(join(place, 'data'))
      const few = await openEmbeddedPostgres(join(place, 'data/postgres'), createLog('silent'), {
        settings: { max_connections: '20' },
      })
      undo(async () => {
        await few.leave()
        rmSync(place, { recursive: true, force: true })
      })
      const socket = encodeURIComponent(few.address.socketDir ?? '')
      return { changes: { database: { url: `postgres://berth@localhost/berth?host=${socket}` } } }
    },
  },
  'a schema of a newer Berth': {
    found: ['database-newer'],
    inject: async (undo) => {
      const name = '9999-later.sql'
      await server.db.query(sql`insert into migrations (name, checksum) values (${name}, 'x')`)
      undo(async () => await server.db.query(sql`delete from migrations where name = ${name}`))
    },
  },
  'a migration that was edited': {
    found: ['database-changed-migration'],
    inject: async (undo) => {
      const name = '0001-init.sql'
      const [row] = await server.db.query<{ checksum: string }>(
        sql`select checksum from migrations where name = ${name}`,
      )
      const set = async (checksum: string): Promise<unknown> =>
        await server.db.query(
          sql`update migrations set checksum = ${checksum} where name = ${name}`,
        )
      await set('another')
      undo(async () => await set(row?.checksum ?? ''))
    },
  },
  'a host whose clock is an hour behind': {
    found: ['database-clock', 'public-clock'],
    inject: () => ({ host: { now: () => new Date(Date.now() - 3_600_000) } }),
  },
  'an alarm': {
    found: ['alarms'],
    inject: async (undo) => {
      await raiseAlarm(server.db, { name: 'quota-drift', message: 'The quota ledger is wrong.' })
      undo(async () => await server.db.query(sql`delete from alarms`))
    },
  },
  'a job that failed and is late': {
    found: ['jobs-failed', 'jobs-late'],
    inject: async (undo) => {
      await server.db.query(sql`
        insert into job_runs (name, cause, began_at, ended_at, error)
        values ('sweep', 'schedule', now() - interval '2 hours', now(), 'The disk is gone.')`)
      undo(async () => await server.db.query(sql`delete from job_runs`))
    },
  },
  'backups that are old, the last of them failed': {
    found: ['backup-age', 'backup-failed'],
    inject: async (undo) => {
      await server.db.query(sql`create table backups_aside as table backups`)
      await server.db.query(sql`delete from backups`)
      await server.db.query(sql`
        insert into backups (id, name, directory, started_at, ended_at, outcome, message) values
          (${'a'.repeat(24)}, 'old', '/b', now() - interval '30 hours', now() - interval '29 hours',
            'complete', ''),
          (${'b'.repeat(24)}, 'new', '/b', now() - interval '2 hours', now() - interval '1 hour',
            'failed', 'No space is left.')`)
      undo(async () => {
        await server.db.query(sql`delete from backups`)
        await server.db.query(sql`insert into backups select * from backups_aside`)
        await server.db.query(sql`drop table backups_aside`)
      })
    },
  },
  'a directory that is down': {
    found: ['directory-answers'],
    needs: 'slapd',
    inject: async () => ({
      changes: people({ servers: [`ldap://127.0.0.1:${await freePort()}`] }),
    }),
  },
  'a wrong password for the directory': {
    found: ['directory-bind'],
    needs: 'slapd',
    inject: () => {
      const file = join(directory, 'wrong-password')
      writeFileSync(file, 'wrong\n', { mode: 0o600 })
      return { changes: people({ bind_password_file: file }) }
    },
  },
  'a base that is not in the directory': {
    found: ['directory-base'],
    needs: 'slapd',
    inject: () => ({ changes: people({ base: 'ou=nobody,dc=site,dc=test' }) }),
  },
  'a certificate of the directory that ends soon': {
    found: ['directory-certificate-end'],
    needs: 'slapd',
    inject: () => ({ changes: secure() }),
  },
  'a certificate of the directory for another name': {
    found: ['directory-certificate-name'],
    needs: 'slapd',
    inject: () => ({ changes: secure({ server_name: 'other.site.test' }) }),
  },
  'a certificate of the directory by nobody we know': {
    found: ['directory-certificate-trust'],
    needs: 'slapd',
    inject: () => ({
      changes: secure({ ca_file: new CertificateAuthority(directory, 'stranger').caFile }),
    }),
  },
  'a portal that is down': {
    found: ['portal-answers'],
    inject: async () => ({
      changes: {
        directory: {
          provider: 'portal',
          url: `http://127.0.0.1:${await freePort()}/login`,
          allow_plain: true,
          format: 'json',
          success_field: 'ok',
        },
      },
    }),
  },
  'another site at the address': {
    found: ['public-site'],
    inject: async (undo) => {
      front.setServer(await startOtherSite({ after }))
      undo(() => front.setServer(site.serverPort))
    },
  },
  'another Berth at the address': {
    found: ['public-discovery', 'public-site'],
    inject: async (undo) => {
      const port = await freePort()
      await startServer({ after }, { port })
      front.setServer(port)
      undo(() => front.setServer(site.serverPort))
    },
  },
  'nothing behind the proxy': {
    found: ['public-answers'],
    inject: async (undo) => {
      front.setServer(await freePort())
      undo(() => front.setServer(site.serverPort))
    },
  },
  'a configuration that the server has not read': {
    found: ['public-discovery'],
    inject: () => ({ changes: { services: { library: 'https://library.example.org' } } }),
  },
  'a proxy whose clock is ahead': {
    found: ['public-clock'],
    inject: (undo) => through({ clockMs: 120_000 }, undo),
  },
  'a certificate that ends in five days': {
    found: ['public-certificate-end'],
    inject: (undo) => certificateOf(site.authority.issue('soon', `IP:${site.address}`, 5), undo),
  },
  'a certificate that is over': {
    found: ['public-certificate-expired'],
    inject: (undo) => certificateOf(site.authority.issue('over', `IP:${site.address}`, -1), undo),
  },
  'a certificate for another name': {
    found: ['public-certificate-name'],
    inject: (undo) => certificateOf(site.authority.issue('other', 'DNS:other.test', 90), undo),
  },
  'a certificate whose authority nobody knows': {
    found: ['public-certificate-chain'],
    inject: (undo) => {
      const stranger = new CertificateAuthority(directory, 'unknown')
      certificateOf(stranger.issue('front', `IP:${site.address}`, 90), undo)
    },
  },
  'a chain without the certificate in between': {
    found: ['public-certificate-chain'],
    inject: (undo) => certificateOf(leafAlone(), undo),
  },
  'a proxy that adds to X-Forwarded-For': {
    found: ['proxy-forwarded-for'],
    inject: (undo) => through({ addsForwarded: true }, undo),
  },
  'a proxy that takes %2F for a slash': {
    found: ['proxy-slashes'],
    inject: (undo) => through({ decodesSlashes: true }, undo),
  },
  'a proxy that limits bodies': {
    found: ['proxy-body-limit'],
    inject: (undo) => through({ maxBodyBytes: 1_048_576 }, undo),
  },
  'a proxy that collects bodies': {
    found: ['proxy-buffering'],
    inject: (undo) => {
      through({ buffers: true }, undo)
      return { patienceMs: 8_000 }
    },
  },
  'a proxy that cuts what takes long': {
    found: ['proxy-cuts'],
    inject: (undo) => {
      through({ cutMs: 2_000 }, undo)
      return { holdSeconds: 6 }
    },
  },
  'a proxy without WebSocket': {
    found: ['proxy-websocket'],
    inject: (undo) => through({ withoutUpgrade: true }, undo),
  },
  'a builder of root without its programs': {
    found: ['builder-apptainer', 'builder-bubblewrap'],
    inject: () => {
      const empty = mkdtempSync(join(directory, 'empty-'))
      const config = join(directory, 'builder.toml')
      writeFileSync(config, `root = "${empty}"\n`)
      const builders = [{ name: 'local', runner_config: config }]
      const account = { uid: 0, name: 'root' }
      return {
        host: { searchPath: empty, account },
        changes: { builder: { enabled: true, builders } },
      }
    },
  },
  'a builder without its programs and accounts': {
    found: ['builder-apptainer', 'builder-bubblewrap', 'builder-newuidmap', 'builder-subuid'],
    inject: () => {
      const empty = mkdtempSync(join(directory, 'empty-'))
      const [config, subuidFile] = [join(directory, 'builder.toml'), join(empty, 'subuid')]
      writeFileSync(config, `root = "${empty}"\n`)
      writeFileSync(subuidFile, 'somebody:100000:65536\n')
      const builders = [{ name: 'local', runner_config: config }]
      return {
        host: { searchPath: empty, subuidFile, account: { uid: 990, name: 'berth-builder' } },
        changes: { builder: { enabled: true, builders } },
      }
    },
  },
  'a builder whose walls do not hold': {
    found: ['builder-self-test'],
    inject: () => {
      // What stands in the way of a sandbox, in words, is what a runner prints.
      const bin = join(directory, 'bin')
      mkdirSync(join(bin, 'usr/bin'), { recursive: true })
      for (const name of ['bwrap', 'newuidmap', 'usr/bin/apptainer', 'runner']) {
        const text = "#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 3\n"
        writeFileSync(join(bin, name), text, { mode: 0o755 })
      }
      writeFileSync(join(bin, 'subuid'), `#\n${process.getuid?.()}:100000:65536\n`)
      writeFileSync(join(bin, 'builder.toml'), `root = "${bin}"\n`)
      const runner = [join(bin, 'runner')]
      const runner_config = join(bin, 'builder.toml')
      const builders = [{ name: 'local', runner, runner_config }]
      return {
        host: { searchPath: bin, subuidFile: join(bin, 'subuid') },
        changes: { builder: { enabled: true, builders } },
      }
    },
  },
  'few open files': {
    found: ['host-open-files'],
    inject: () => ({ host: { openFiles: 1024 } }),
  },
  'a Node that nobody corrects': {
    found: ['host-node'],
    inject: () => ({ host: { nodeVersion: 'v18.20.4' } }),
  },
}

function why({ needs }: Fault): false | string {
  if (needs === 'root' && !isRoot) return 'only root can do this to a host'
  return needs === 'slapd' ? skipSlapd : false
}

test('there are thirty faults and more', () => {
  assert.ok(new Set(Object.values(faults).flatMap(({ found }) => found)).size >= 30)
})

for (const [name, injected] of Object.entries(faults)) {
  test(name, { skip: why(injected) }, async () => {
    const undone: (() => unknown)[] = []
    try {
      const options = await injected.inject((work) => undone.unshift(work))
      const wrong = await site.look(options ?? {})
      if (!isRoot && !injected.found.includes('public-port')) wrong.delete('public-port')
      const told = [...wrong.values()].map(({ check, what }) => `${check}: ${what}`).join('\n')
      assert.deepEqual([...wrong.keys()].sort(), [...injected.found].sort(), told)
      for (const { what, fix } of wrong.values()) {
        assert.ok(what.length > 10 && fix.length > 10, `${what} ${fix}`)
        assert.doesNotMatch(`${what}${fix}`, /undefined|\[object|NaN/)
      }
    } finally {
      for (const work of undone) await work()
    }
  })
}
