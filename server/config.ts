/**
 * The configuration: one TOML file, three environment variables for quick starts, the secrets of
 * systemd, defaults for everything. Besides unit.ts only this file reads the environment. Every mistake is reported at once,
 * with its place; nothing listens before the configuration is known to be right.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

import { parse as parseToml, TomlError } from 'smol-toml'
import { z } from 'zod'

import { backupSettings, backupTable } from './backup-settings.ts'
import type { BackupSettings } from './backup-settings.ts'
import { builderSettings, builderTable } from './builder-settings.ts'
import type { BuilderSettings } from './builder-settings.ts'
import { applyCredentials } from './credentials.ts'
import { directoryTable } from './directory-settings.ts'
import type { DirectorySettings } from './directory-settings.ts'
import { defaultOrigin, listenField, proxiesField, tlsTable } from './listen-settings.ts'
import type { Place, TlsSettings } from './listen-settings.ts'
import { Secret } from './secret.ts'
import { bytes, units } from './size-field.ts'

/** An origin that is printed into replies: scheme and host, no trailing slash. */
const address = z.url({ protocol: /^https?$/ }).transform((value) => value.replace(/\/+$/, ''))

const pathSegment = z.string().regex(/^[a-z0-9]+(?:[._-][a-z0-9]+)*$/, 'expected a library name')

const schema = z.strictObject({
  /** Where Berth keeps everything: blobs, uploads, keys and, without [database], PostgreSQL. */
  data_dir: z.string().min(1).default('./data'),
  /** host:port or unix:/path. A proxy with TLS stands before it on a site; systemd's sockets win. */
  listen: listenField.default({ host: '127.0.0.1', port: 5080 }),
  /** With a certificate of its own, Berth serves https on TCP. It is read again when it changes. */
  tls: tlsTable.optional(),
  /** Who is believed about the address of a client (X-Forwarded-For); a unix socket is 127.0.0.1. */
  trusted_proxies: proxiesField.prefault(['127.0.0.0/8', '::1']),
  /** The origin that clients use; it is printed into every reply that names an address. */
  public_url: address.optional(),
  site: z
    .strictObject({
      /** Shown in prompts and on pages: "<name> portal password :". */
      name: z.string().min(1).max(64).default('Berth'),
    })
    .prefault({}),
  /** A host name of its own for a service, as it appears in the discovery document. */
  services: z
    .strictObject({
      library: address.optional(),
      registry: address.optional(),
      keystore: address.optional(),
      token: address.optional(),
      consent: address.optional(),
      builder: address.optional(),
      builder_manager: address.optional(),
    })
    .prefault({}),
  database: z
    .strictObject({
      /** postgres://… of the site's own server. The password comes from password_file. */
      url: z.url({ protocol: /^postgres(ql)?$/ }),
      password_file: z.string().optional(),
    })
    .optional(),
  access: z
    .strictObject({
      /** Whether public images can be pulled, listed and searched without a token. */
      anonymous_pull: z.boolean().default(true),
    })
    .prefault({}),
  /** Where the site keeps its people: see directory-settings.ts. */
  directory: directoryTable.optional(),
  groups: z
    .strictObject({
      /** Members of this group of the directory administrate the site. */
      admins: z.string().min(1).optional(),
      /** Only members of one of these may sign in; empty: everybody whom the directory knows. */
      allowed: z.array(z.string().min(1)).default([]),
      /** Groups that own a space of their name, as names or patterns: "climate", "proj-*". */
      spaces: z
        .array(z.string().regex(/^[a-z0-9*]+(?:[._-][a-z0-9*]+)*$/, 'expected a name or a pattern'))
        .default([]),
      /** What such a space may store, when that is not [quota] default. */
      quota: bytes.optional(),
      quotas: z.record(pathSegment, bytes).default({}),
    })
    .prefault({}),
  sign_in: z
    .strictObject({
      /** Below what locks a person out of the directory. */
      failures_per_account: z.number().int().min(1).max(1000).default(5),
      account_window_minutes: z.number().int().min(1).max(1440).default(15),
      /** A login node is one address for many people. */
      failures_per_address: z.number().int().min(1).max(100_000).default(30),
      address_window_minutes: z.number().int().min(1).max(1440).default(1),
      /** Where people change a password that has expired. */
      password_url: address.optional(),
      /** How often the directory is asked who is still there. */
      revalidate_minutes: z.number().int().min(1).max(59).default(10),
    })
    .prefault({}),
  tokens: z
    .strictObject({
      valid_days: z.number().int().min(1).max(366).default(365),
      per_account: z.number().int().min(1).max(1000).default(20),
      /** Sends a message with its headers, as ["/usr/sbin/sendmail", "-t", "-i"]; empty: no mail. */
      mail_command: z.array(z.string().min(1)).default([]),
    })
    .prefault({}),
  quota: z
    .strictObject({
      /** What one entity may store when nothing else was set for it. */
      default: bytes.default(100 * units.GiB),
    })
    .prefault({}),
  library: z
    .strictObject({
      /** What one- and two-part names stand for: <default_entity>/<default_collection>/name. */
      default_entity: pathSegment.default('library'),
      default_collection: pathSegment.default('default'),
      /** Larger downloads are answered by a redirect that the client follows in parallel ranges. */
      redirect_from: bytes.default(64 * units.MiB),
      /** Size of one part of a multipart upload. */
      part_size: bytes.default(64 * units.MiB),
      /** The largest image that is taken at all. */
      max_image: bytes.default(units.TiB),
      /** Which images are taken where a space has no rule of its own: verified by the keystore, or any. */
      images: z.enum(['any', 'verified']).default('any'),
      /** A deleted image can be restored for so long; 0: it cannot. */
      undelete_days: z.number().int().min(0).max(366).default(7),
    })
    .prefault({}),
  uploads: z
    .strictObject({
      /** An upload that has been quiet for this long is ended and its bytes are given back. */
      expire_hours: z.number().positive().max(168).default(24),
      /** A connection on which nothing moves for this long is closed. */
      idle_seconds: z.number().positive().max(3600).default(60),
    })
    .prefault({}),
  storage: z
    .strictObject({
      /** New uploads are refused when they would leave less than this free on the disk. */
      keep_free: bytes.default(units.GiB),
      /** Bytes of a deleted image stay on disk this long, so that running downloads end well. */
      grace_hours: z.number().min(0).max(720).default(24),
      /** Every stored file is read again and compared with its hash once in so many days. */
      scrub_days: z.number().min(1).max(366).default(7),
      /** How fast, in a second, while nobody pushes; a sixteenth of it while somebody does. */
      scrub_rate: bytes.pipe(z.number().min(units.MiB)).default(64 * units.MiB),
    })
    .prefault({}),
  downloads: z
    .strictObject({
      /**
       * Where the proxy serves the store's `blobs` directory to itself alone, such as "/blobs/". It
       * gets X-Accel-Redirect instead of the bytes then, if it says `X-Berth-Accel: yes`.
       */
      accel: z
        .string()
        .regex(/^\/(?:[\w.-]+\/)+$/, 'expected a path such as "/blobs/"')
        .optional(),
    })
    .prefault({}),
  keystore: z
    .strictObject({
      /** Whether somebody without a token may bring news of a key that is known (gpg --send-keys). */
      anonymous_updates: z.boolean().default(false),
    })
    .prefault({}),
  /** Building images for people: see builder-settings.ts. */
  builder: builderTable,
  /** Figures for the site's Prometheus, on a listener of their own that asks nobody who he is. */
  metrics: z.strictObject({ listen: listenField.optional() }).prefault({}),
  /** Copies of everything: see backup-settings.ts. */
  backup: backupTable.optional(),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
    })
    .prefault({}),
})

type Settings = z.infer<typeof schema>

export interface Config {
  readonly dataDir: string
  readonly listen: Place
  readonly tls: TlsSettings | undefined
  readonly isTrustedProxy: (address: string) => boolean
  readonly publicUrl: string
  readonly siteName: string
  readonly services: {
    readonly library: string
    readonly registry: string
    readonly keystore: string
    readonly token: string
    readonly consent: string
    readonly builder: string
    readonly builderManager: string
  }
  readonly database: { readonly url: string; readonly password: Secret | undefined } | undefined
  readonly access: { readonly anonymousPull: boolean }
  readonly directory: DirectorySettings | undefined
  readonly groups: {
    readonly admins: string | undefined
    readonly allowed: readonly string[]
    readonly spaces: readonly string[]
    readonly quotaBytes: number | undefined
    readonly quotas: Readonly<Record<string, number>>
  }
  readonly signIn: {
    readonly limits: {
      readonly failuresPerAccount: number
      readonly accountWindowMinutes: number
      readonly failuresPerAddress: number
      readonly addressWindowMinutes: number
    }
    readonly passwordUrl: string | undefined
    readonly revalidateMinutes: number
  }
  readonly tokens: {
    readonly validDays: number
    readonly perAccount: number
    readonly mailCommand: readonly string[]
  }
  readonly quotaBytes: number
  readonly library: {
    readonly defaultEntity: string
    readonly defaultCollection: string
    readonly redirectFromBytes: number
    readonly partBytes: number
    readonly maxImageBytes: number
    readonly images: 'any' | 'verified'
    readonly undeleteDays: number
  }
  readonly uploads: { readonly expireHours: number; readonly idleSeconds: number }
  readonly storage: {
    readonly keepFreeBytes: number
    readonly graceHours: number
    readonly scrubDays: number
    readonly scrubBytesPerSecond: number
  }
  readonly downloads: { readonly accel: string | undefined }
  readonly keystore: { readonly anonymousUpdates: boolean }
  readonly builder: BuilderSettings
  readonly metrics: { readonly listen: Place | undefined }
  readonly backup: BackupSettings | undefined
  readonly log: { readonly level: Settings['log']['level'] }
}

/** All mistakes of a configuration, one line each; the caller prints them and exits with 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly mistakes: readonly string[]
  constructor(mistakes: readonly string[]) {
    super(mistakes.join('\n'))
    this.mistakes = mistakes
  }
}

const overrides = {
  data_dir: 'BERTH_DATA_DIR',
  listen: 'BERTH_LISTEN',
  public_url: 'BERTH_PUBLIC_URL',
} as const

const defaultFile = '/etc/berth/berth.toml'

/** Where the configuration is read from, whether it is there or not. */
export function configFile(env: NodeJS.ProcessEnv = process.env): string {
  return env['BERTH_CONFIG'] ?? defaultFile
}

/** The settings as they hold, by the names of the file: for people, with secrets left out. */
export function readSettings(env: NodeJS.ProcessEnv = process.env): {
  readonly file: string
  readonly settings: Record<string, unknown>
} {
  const { file, settings, places } = collectSettings(env)
  const { data } = parseSettings(settings, file, places)
  const shown = {
    ...data,
    listen: settings['listen'] ?? '127.0.0.1:5080',
    trusted_proxies: settings['trusted_proxies'],
    tls: settings['tls'],
    database: data.database && { ...data.database, url: withoutPassword(data.database.url) },
    // As it was written: what is made of it has other names.
    directory: settings['directory'],
  }
  // Secrets become [redacted], what is not set goes.
  return { file, settings: JSON.parse(JSON.stringify(shown)) as Record<string, unknown> }
}

function withoutPassword(address: string): string {
  const url = new URL(address)
  if (url.password !== '') url.password = 'redacted'
  return url.href
}

/** Reads `$BERTH_CONFIG` or /etc/berth/berth.toml (which may be absent) and the overrides. */
export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const { file, settings, places } = collectSettings(env)
  return makeConfig(settings, file, places)
}

function collectSettings(env: NodeJS.ProcessEnv): {
  readonly file: string
  readonly settings: Record<string, unknown>
  readonly places: ReadonlyMap<string, string>
} {
  const file = configFile(env)
  const settings: Record<string, unknown> = parseFile(
    file,
    readText(file, env['BERTH_CONFIG'] === undefined),
  )
  const places = new Map<string, string>()
  for (const [key, variable] of Object.entries(overrides)) {
    if (env[variable] === undefined) continue
    settings[key] = env[variable]
    places.set(key, variable)
  }
  const credentials = env['CREDENTIALS_DIRECTORY']
  if (credentials !== undefined) applyCredentials(settings, credentials)
  return { file, settings, places }
}

/** Validates settings as they stand in the file and derives the rest; tests call it directly. */
export function makeConfig(
  settings: unknown,
  place = 'configuration',
  places: ReadonlyMap<string, string> = new Map(),
): Config {
  const { data } = parseSettings(settings, place, places)
  const publicUrl = data.public_url ?? defaultOrigin(data.listen, data.tls)
  if (publicUrl === undefined) {
    throw new ConfigError([`${place}: public_url: is needed where Berth listens on a unix socket`])
  }
  return Object.freeze({
    dataDir: resolve(data.data_dir),
    listen: data.listen,
    tls: data.tls,
    isTrustedProxy: data.trusted_proxies,
    publicUrl,
    siteName: data.site.name,
    services: {
      library: data.services.library ?? publicUrl,
      registry: data.services.registry ?? publicUrl,
      keystore: data.services.keystore ?? publicUrl,
      token: data.services.token ?? publicUrl,
      consent: data.services.consent ?? publicUrl,
      builder: data.services.builder ?? publicUrl,
      builderManager: data.services.builder_manager ?? data.services.builder ?? publicUrl,
    },
    database: data.database && {
      url: data.database.url,
      password:
        data.database.password_file === undefined
          ? undefined
          : new Secret(readSecret(data.database.password_file)),
    },
    access: { anonymousPull: data.access.anonymous_pull },
    directory: data.directory,
    groups: {
      admins: data.groups.admins,
      allowed: data.groups.allowed,
      spaces: data.groups.spaces,
      quotaBytes: data.groups.quota,
      quotas: data.groups.quotas,
    },
    signIn: {
      limits: {
        failuresPerAccount: data.sign_in.failures_per_account,
        accountWindowMinutes: data.sign_in.account_window_minutes,
        failuresPerAddress: data.sign_in.failures_per_address,
        addressWindowMinutes: data.sign_in.address_window_minutes,
      },
      passwordUrl: data.sign_in.password_url,
      revalidateMinutes: data.sign_in.revalidate_minutes,
    },
    tokens: {
      validDays: data.tokens.valid_days,
      perAccount: data.tokens.per_account,
      mailCommand: data.tokens.mail_command,
    },
    quotaBytes: data.quota.default,
    library: {
      defaultEntity: data.library.default_entity,
      defaultCollection: data.library.default_collection,
      redirectFromBytes: data.library.redirect_from,
      partBytes: data.library.part_size,
      maxImageBytes: data.library.max_image,
      images: data.library.images,
      undeleteDays: data.library.undelete_days,
    },
    uploads: { expireHours: data.uploads.expire_hours, idleSeconds: data.uploads.idle_seconds },
    storage: {
      keepFreeBytes: data.storage.keep_free,
      graceHours: data.storage.grace_hours,
      scrubDays: data.storage.scrub_days,
      scrubBytesPerSecond: data.storage.scrub_rate,
    },
    downloads: { accel: data.downloads.accel },
    keystore: { anonymousUpdates: data.keystore.anonymous_updates },
    builder: builderSettings(data.builder),
    metrics: { listen: data.metrics.listen },
    backup: data.backup && backupSettings(data.backup),
    log: { level: data.log.level },
  })
}

function parseSettings(
  settings: unknown,
  place: string,
  places: ReadonlyMap<string, string>,
): { readonly data: Settings } {
  const parsed = schema.safeParse(settings)
  if (parsed.success) return parsed
  throw new ConfigError(parsed.error.issues.flatMap((issue) => describe(issue, place, places)))
}

function describe(
  issue: z.core.$ZodIssue,
  place: string,
  places: ReadonlyMap<string, string>,
): string[] {
  const variable = places.get(String(issue.path[0]))
  if (variable !== undefined) return [`${variable}: ${issue.message}`]
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${place}: ${[...issue.path, key].join('.')}: unknown key`)
  }
  return [`${place}: ${issue.path.join('.') || '(top level)'}: ${issue.message}`]
}

function readText(file: string, mayBeAbsent: boolean): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (mayBeAbsent && (error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw new ConfigError([`${file}: cannot be read: ${(error as Error).message}`])
  }
}

function parseFile(file: string, text: string): Record<string, unknown> {
  try {
    return parseToml(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const what = error.message.split('\n', 1)[0]
    throw new ConfigError([`${file}:${error.line}:${error.column}: ${what}`])
  }
}

function readSecret(file: string): string {
  return readText(file, false).trimEnd()
}
