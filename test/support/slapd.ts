/** A real OpenLDAP on ports of its own, unprivileged, with the people of slapd-people.ts. */
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Client } from 'ldapts'

import { CertificateAuthority, hasOpenssl } from './certificate-authority.ts'
import { freePort } from './free-port.ts'
import { eventually } from './server.ts'
import type { Lifetime } from './server.ts'
import { adminPassword, slapdConfig, trees } from './slapd-config.ts'
import { groups, ipaTree, siteTree, windowsTree } from './slapd-people.ts'

const program = '/usr/sbin/slapd'

/** False, or the reason for node:test. In CI nothing is skipped: what is missing fails. */
export const skipSlapd: string | false =
  process.env['CI'] === 'true' || (existsSync(program) && hasOpenssl)
    ? false
    : 'slapd or openssl is not installed'

/** The name in the server's certificate, which resolves nowhere. */
export const certificateName = 'ldap.site.test'

export interface Slapd {
  /** ldap://, plain or with StartTLS. */
  readonly url: string
  readonly port: number
  /** ldaps:// */
  readonly tlsUrl: string
  readonly tlsPort: number
  readonly authority: CertificateAuthority
  readonly directory: string
  readonly child: ChildProcess
  /** Works as the administrator of a tree, over the network as everybody else. */
  administer<T>(work: (client: Client) => Promise<T>, tree?: string): Promise<T>
  /** Changes the server's configuration while it runs. */
  configure<T>(work: (client: Client) => Promise<T>): Promise<T>
  end(): Promise<void>
}

export async function startSlapd(t: Lifetime): Promise<Slapd> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-slapd-'))
  const authority = new CertificateAuthority(directory)
  const certificate = authority.issue('slapd', `DNS:${certificateName},IP:127.0.0.1`)
  mkdirSync(join(directory, 'conf'))
  for (const number of [1, 2, 3]) mkdirSync(join(directory, `db${number}`))
  const config = slapdConfig({ directory, caFile: authority.caFile, certificate })
  for (const [number, text] of [config, siteTree, windowsTree, ipaTree].entries()) {
    writeFileSync(join(directory, `${number}.ldif`), text)
  }
  const who = unprivileged()
  giveTo(who, directory)
  const conf = join(directory, 'conf')
  for (const number of [0, 1, 2, 3]) {
    const file = join(directory, `${number}.ldif`)
    execFileSync(program, ['-T', 'add', '-n', String(number), '-F', conf, '-l', file], {
      ...who,
      cwd: directory,
    })
  }
  const port = await freePort()
  const tlsPort = await freePort()
  const url = `ldap://127.0.0.1:${port}`
  const tlsUrl = `ldaps://127.0.0.1:${tlsPort}`
  const args = ['-F', conf, '-h', `${url}/ ${tlsUrl}/`, '-d', '0']
  const child = spawn(program, args, { ...who, cwd: directory, stdio: 'ignore' })
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()))
  const slapd: Slapd = {
    url,
    port,
    tlsUrl,
    tlsPort,
    authority,
    directory,
    child,
    administer: async (work, tree = trees.site) => await as(url, `cn=admin,${tree}`, work),
    configure: async (work) => await as(url, 'cn=admin,cn=config', work),
    end: async () => {
      child.kill('SIGCONT')
      child.kill('SIGTERM')
      await ended
    },
  }
  t.after(async () => {
    await slapd.end()
    rmSync(directory, { recursive: true, force: true })
  })
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`slapd ended with ${child.exitCode}`)
    return await slapd.administer(async () => true).catch(() => false)
  }, 'slapd answers')
  for (const { dn, attributes } of groups) {
    const tree = Object.values(trees).find((suffix) => dn.endsWith(suffix))
    await slapd.administer(async (client) => await client.add(dn, attributes), tree)
  }
  return slapd
}

async function as<T>(url: string, dn: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ url, timeout: 5000, connectTimeout: 2000 })
  try {
    await client.bind(dn, adminPassword)
    return await work(client)
  } finally {
    await client.unbind()
  }
}

/** The account that Debian's package made for it; nothing when the tests are not run by root. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((text) => text.startsWith('openldap:'))
  const [, , uid, gid] = line?.split(':') ?? []
  return { uid: Number(uid), gid: Number(gid) }
}

function giveTo({ uid, gid }: { uid?: number; gid?: number }, directory: string): void {
  chmodSync(directory, 0o755)
  if (uid === undefined) return
  execFileSync('chown', ['-R', `${uid}:${gid}`, directory])
}
