/** A site that builds for real, as people reach it: over HTTPS, with a certificate of its own authority. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { Lifetime, TestServer } from '../support/server.ts'
import { startTlsFront } from '../support/tls-front.ts'
import { findApptainerRoot } from './apptainer-root.ts'

export interface SecureBuildSite {
  /** Of the endpoint, for the clients. */
  readonly url: string
  /** What clients have to trust. */
  readonly caFile: string
  readonly server: TestServer
  /** A new account; the client speaks with the server itself, behind TLS. */
  account(name: string): Promise<Person>
}

export interface Person {
  readonly client: Client
  readonly token: string
}

interface SecureSiteOptions {
  /** 443 needs root; by default any. */
  readonly port?: 0 | 443
  /** Added to `[builder]`. */
  readonly builder?: Readonly<Record<string, unknown>>
}

/** The builder is the real runner with the real Apptainer, unless the options have another. */
export async function startSecureBuildSite(
  t: Lifetime,
  { port = 0, builder = {} }: SecureSiteOptions = {},
): Promise<SecureBuildSite> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-secure-site-'))
  t.after(async () => rmSync(directory, { recursive: true, force: true }))
  const runnerConfig = join(directory, 'runner.toml')
  const lines = [
    `root = ${JSON.stringify(findApptainerRoot() ?? '')}`,
    `scratch_dir = ${JSON.stringify(directory)}`,
    'limiter = "prlimit"',
  ]
  writeFileSync(runnerConfig, `${lines.join('\n')}\n`)
  const front = await startTlsFront(t, port)
  const settings = {
    public_url: front.url,
    builder: {
      enabled: true,
      scratch: '1 GiB',
      memory: '1 GiB',
      builders: [{ name: 'here', archs: ['amd64'], slots: 2, runner_config: runnerConfig }],
      ...builder,
    },
  }
  const server = await startServer(t, { settings, port: front.serverPort })
  return {
    url: front.url,
    caFile: front.caFile,
    server,
    account: async (name) => {
      const { credentials } = await server.account(name)
      const client = new Client(`http://127.0.0.1:${front.serverPort}`, credentials)
      return { client, token: credentials?.token ?? '' }
    },
  }
}

/** A definition that begins from nothing but a busybox of the host, with these lines after it. */
export function busyboxDefinition(...lines: readonly string[]): string {
  return [
    'Bootstrap: scratch',
    '%setup',
    '  mkdir -p "$APPTAINER_ROOTFS/bin"',
    '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
    '  for name in sh cat echo sleep; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
    ...lines,
    '',
  ].join('\n')
}
