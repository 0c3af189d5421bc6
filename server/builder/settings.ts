/**
 * What the program on a builder host is told: the table `[server]` of the file whose other lines are
 * for the runners (server/runner/settings.ts), and the builder's token.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { parse as parseToml } from 'smol-toml'
import { z } from 'zod'

import { archNames, builderName } from '../builder-settings.ts'
import { packageRoot } from '../package-root.ts'
import { Secret } from '../secret.ts'

const schema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).transform((value) => value.replace(/\/+$/, '')),
  /** A certificate authority of the site's own, as PEM; runners get it too. */
  ca: z.string().startsWith('/').optional(),
  /** Read when systemd hands over no credential. */
  token_file: z.string().startsWith('/').optional(),
  /** As it was added with berthctl. */
  name: builderName,
  /** Go names. */
  archs: archNames,
  /** Builds at the same time. */
  slots: z.number().int().min(1).max(1000).default(2),
  state_dir: z.string().startsWith('/').default('/var/lib/berth-builder'),
  /** The runner's program and first arguments; by default the one of this installation. */
  runner: z.array(z.string().min(1)).min(1).optional(),
  self_test_minutes: z.number().positive().max(10_080).default(60),
  /** After a self-test that failed. */
  rest_minutes: z.number().positive().max(1440).default(5),
  keep_logs_days: z.number().positive().max(3650).default(90),
})

export interface BuilderProgramSettings {
  /** Of the server, without a slash at its end. */
  readonly url: string
  readonly ca: string | undefined
  readonly token: Secret
  readonly name: string
  readonly archs: readonly string[]
  readonly slots: number
  readonly stateDir: string
  /** The runner's program and its arguments, to which `--job FILE` or `--self-test` is added. */
  readonly runner: readonly string[]
  readonly selfTestSeconds: number
  readonly restSeconds: number
  readonly keepLogsDays: number
}

/** Throws with what is wrong, for people. */
export function readBuilderSettings(file: string): BuilderProgramSettings {
  const { server } = parseToml(readFileSync(file, 'utf8'))
  if (server === undefined) throw new Error(`${file}: there is no [server] in it`)
  const parsed = schema.safeParse(server)
  if (!parsed.success) throw new Error(`${file}: [server]: ${z.prettifyError(parsed.error)}`)
  const { data } = parsed
  const program = data.runner ?? [
    process.execPath,
    '--enable-source-maps',
    join(packageRoot, 'dist/server/runner/main.js'),
  ]
  return {
    url: data.url,
    ca: data.ca === undefined ? undefined : readFileSync(data.ca, 'utf8'),
    token: readToken(data.token_file),
    name: data.name,
    archs: data.archs,
    slots: data.slots,
    stateDir: data.state_dir,
    runner: [...program, '--config', file],
    selfTestSeconds: data.self_test_minutes * 60,
    restSeconds: data.rest_minutes * 60,
    keepLogsDays: data.keep_logs_days,
  }
}

/** Names of a credential: by itself, by its key, and as one file of a directory `berth-builder`. */
const credentialNames = ['builder-token', 'server.token_file', 'berth-builder_server.token_file']

function readToken(file: string | undefined): Secret {
  const credentials = process.env['CREDENTIALS_DIRECTORY']
  for (const name of credentials === undefined ? [] : credentialNames) {
    const handedOver = join(credentials ?? '', name)
    if (existsSync(handedOver)) return secretIn(handedOver)
  }
  if (file === undefined) {
    throw new Error(
      'There is no token: set token_file, or LoadCredential=builder-token:FILE in the unit.',
    )
  }
  if ((statSync(file).mode & 0o077) !== 0) {
    throw new Error(`${file} can be read by others: chmod 600 ${file}`)
  }
  return secretIn(file)
}

function secretIn(file: string): Secret {
  const text = readFileSync(file, 'utf8').trim()
  if (text === '') throw new Error(`${file} is empty: it holds the token of berthctl builder add`)
  return new Secret(text)
}
