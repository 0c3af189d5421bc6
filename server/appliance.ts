/** The only wiring: the server, the administrator's commands and the tests open the same parts. */
import { join } from 'node:path'

import type { AccountActor } from './accounts/actor.ts'
import type { DirectoryRules } from './accounts/directory-accounts.ts'
import { GroupSpaces } from './accounts/group-spaces.ts'
import { RegistryTokens } from './accounts/registry-tokens.ts'
import { revalidate } from './accounts/revalidation.ts'
import type { RevalidationResult } from './accounts/revalidation.ts'
import { Roster } from './accounts/roster.ts'
import { SignIn } from './accounts/sign-in.ts'
import { openSigningKeys } from './accounts/signing-key.ts'
import type { SigningKeys } from './accounts/signing-key.ts'
import { TokenRegister } from './accounts/token-register.ts'
import { Tokens } from './accounts/tokens.ts'
import { refuseUnfinishedRestore } from './backup/restore-marker.ts'
import { assembleBuilder } from './builder-parts.ts'
import type { BuilderParts } from './builder-parts.ts'
import type { QueueTimes } from './builds/queue.ts'
import { Capabilities, openCapabilityKeys } from './capability.ts'
import type { CapabilityKeys } from './capability.ts'
import type { Config } from './config.ts'
import { Artifacts } from './content/artifacts.ts'
import { BlobStore } from './content/blob-store.ts'
import { BlobUploads } from './content/blob-uploads.ts'
import { CollectionAccess } from './content/collection-access.ts'
import { DownloadCounts } from './content/download-counts.ts'
import { HashThread } from './content/hash-thread.ts'
import { Holdings } from './content/holdings.ts'
import { ImagePolicy } from './content/image-policy.ts'
import { recount } from './content/recount.ts'
import type { RecountResult } from './content/recount.ts'
import { Registry } from './content/registry.ts'
import { LibraryReports } from './content/reports.ts'
import { Retention } from './content/retention.ts'
import { Scrub } from './content/scrub.ts'
import { SpaceQuotas } from './content/space-quotas.ts'
import { sweep } from './content/sweep.ts'
import type { SweepResult } from './content/sweep.ts'
import { Trash } from './content/trash.ts'
import { Turns } from './content/turns.ts'
import { Uploads } from './content/uploads.ts'
import { openDatabaseServer } from './database-server.ts'
import type { DatabaseServer } from './database-server.ts'
import { openDatabase } from './database.ts'
import type { Database, DatabaseAddress } from './database.ts'
import { openDirectory } from './directory/open-directory.ts'
import { makeDataDirectory } from './embedded-postgres.ts'
import { healthChecks } from './health-checks.ts'
import { healthOf } from './health.ts'
import type { Health } from './health.ts'
import { CertificateReader } from './keystore/certificate-reader.ts'
import { ImageChecks } from './keystore/image-checks.ts'
import { Keystore } from './keystore/keystore.ts'
import type { Log } from './log.ts'
import { measuredDirectory } from './metrics/measured-directory.ts'
import { Meters } from './metrics/meters.ts'
import { metricSources } from './metrics/sources.ts'
import { migrate } from './migrate.ts'

export interface Appliance {
  readonly config: Config
  readonly log: Log
  readonly database: Database
  /** For whoever copies the whole database. */
  readonly databaseAddress: DatabaseAddress
  readonly blobs: BlobStore
  readonly registry: Registry
  readonly policy: ImagePolicy
  readonly trash: Trash
  readonly retention: Retention
  readonly scrub: Scrub
  readonly collectionAccess: CollectionAccess
  readonly uploads: Uploads
  readonly blobUploads: BlobUploads
  readonly artifacts: Artifacts
  readonly tokens: Tokens
  readonly registryTokens: RegistryTokens
  readonly reports: LibraryReports
  readonly quotas: SpaceQuotas
  readonly holdings: Holdings
  readonly tokenRegister: TokenRegister
  readonly roster: Roster
  readonly keystore: Keystore
  readonly imageChecks: ImageChecks
  readonly signingKeys: SigningKeys
  readonly capabilityKeys: CapabilityKeys
  readonly capabilities: Capabilities
  readonly builder: BuilderParts
  readonly signIn: SignIn
  readonly groupSpaces: GroupSpaces
  readonly meters: Meters
  /** Asks the site's directory about its people; undefined where it cannot be asked. */
  readonly revalidate: (options?: {
    readonly confirmed?: boolean
  }) => Promise<RevalidationResult | undefined>
  readonly sweep: () => Promise<SweepResult>
  /** Counts anew what the spaces hold; with an account, in whose name it is put right. */
  readonly recount: (repairBy?: AccountActor) => Promise<RecountResult>
  /** Whether it can work, check by check. */
  readonly health: Health
  readonly close: () => Promise<void>
}

/** Longer than any check of a password takes, short enough for people who mistyped theirs. */
const refusalStepMs = 500

export interface ApplianceOptions {
  /** Other times than the usual ones, for whoever cannot wait for them. */
  readonly queueTimes?: Partial<QueueTimes> | undefined
  /** Only the restore itself opens what a restore has not finished. */
  readonly isRestoring?: boolean
}

export async function openAppliance(
  config: Config,
  log: Log,
  options: ApplianceOptions = {},
): Promise<Appliance> {
  if (options.isRestoring !== true) refuseUnfinishedRestore(config.dataDir)
  makeDataDirectory(config.dataDir)
  const server = await openDatabaseServer(config, log)
  try {
    const database = openDatabase(server.address, log)
    try {
      return await assemble(config, log, database, { ...options, ...server })
    } catch (error) {
      await database.close()
      throw error
    }
  } catch (error) {
    await server.leave()
    throw error
  }
}

async function assemble(
  config: Config,
  log: Log,
  database: Database,
  options: ApplianceOptions & DatabaseServer,
): Promise<Appliance> {
  const applied = await migrate(database)
  if (applied.length > 0) log.info({ 'migrations.applied': applied }, 'the database was migrated')
  const blobs = await BlobStore.open(join(config.dataDir, 'store'), database)
  const secrets = join(config.dataDir, 'secrets')
  const signingKeys = await openSigningKeys(
    join(secrets, 'token-signing-key.pem'),
    config.tokens.validDays,
  )
  const capabilityKeys = await openCapabilityKeys(join(secrets, 'capability-key'))
  const defaultQuotaBytes = config.quotaBytes
  const groupSpaces = new GroupSpaces(config.groups)
  const meters = new Meters()
  meters.watchDatabase(() => database.state())
  for (const source of metricSources(config, database)) meters.add(source)
  const opened = openDirectory(config.directory, log)
  const directory = opened && measuredDirectory(opened, meters)
  const rules: DirectoryRules = {
    adminGroup: config.groups.admins,
    allowedGroups: config.groups.allowed,
    groupSpaces,
  }
  const downloads = new DownloadCounts(database, log)
  const imageChecks = new ImageChecks(database, blobs, log)
  const policy = new ImagePolicy(database, blobs, imageChecks, config.library.images)
  const { undeleteDays } = config.library
  const trash = new Trash(database, blobs, policy, { undeleteDays, defaultQuotaBytes })
  const registry = new Registry(database, blobs, {
    defaultQuotaBytes,
    groupSpaces,
    policy,
    downloads,
    trash,
  })
  const thread = new HashThread()
  const certificates = new CertificateReader()
  const hashing = { thread, turns: new Turns() }
  const scrub = new Scrub({
    database,
    blobs,
    log,
    days: config.storage.scrubDays,
    bytesPerSecond: config.storage.scrubBytesPerSecond,
    isPushing: () => hashing.turns.isAnyBusy,
  })
  const limits = {
    defaultQuotaBytes,
    maxImageBytes: config.library.maxImageBytes,
    keepFreeBytes: config.storage.keepFreeBytes,
    expireHours: config.uploads.expireHours,
  }
  const uploads = new Uploads(database, blobs, registry, hashing, {
    ...limits,
    partBytes: config.library.partBytes,
  })
  const blobUploads = new BlobUploads(database, blobs, registry, hashing, limits)
  const tokens = new Tokens(database, {
    keys: signingKeys,
    issuer: config.publicUrl,
    validDays: config.tokens.validDays,
    perAccount: config.tokens.perAccount,
  })
  const artifacts = new Artifacts(database, blobs, registry, { defaultQuotaBytes })
  const builder = assembleBuilder({
    config,
    log,
    database,
    registry,
    artifacts,
    uploads,
    blobUploads,
    tokens,
    imageArrived: async (digest) => await imageChecks.arrived(digest),
    queueTimes: options.queueTimes,
  })
  const health = healthOf(healthChecks(config, database, log), (name, error) => {
    log.warn({ err: error, 'check.name': name }, 'a check of readiness has failed')
  })
  return {
    config,
    log,
    database,
    databaseAddress: options.address,
    blobs,
    registry,
    policy,
    trash,
    retention: new Retention(database, trash),
    scrub,
    builder,
    collectionAccess: new CollectionAccess(database, registry),
    uploads,
    blobUploads,
    artifacts,
    tokens,
    registryTokens: new RegistryTokens(signingKeys, tokens, config.publicUrl),
    reports: new LibraryReports(database),
    quotas: new SpaceQuotas(database, defaultQuotaBytes, groupSpaces),
    holdings: new Holdings(database, blobs, registry, artifacts),
    tokenRegister: new TokenRegister(database),
    roster: new Roster(database, rules.adminGroup),
    keystore: new Keystore(database, certificates, {
      ...config.keystore,
      changed: (fingerprint) => imageChecks.certificateChanged(fingerprint),
    }),
    imageChecks,
    signingKeys,
    capabilityKeys,
    capabilities: new Capabilities(capabilityKeys),
    groupSpaces,
    meters,
    signIn: new SignIn(database, {
      directory,
      rules,
      limits: config.signIn.limits,
      passwordUrl: config.signIn.passwordUrl,
      refusalStepMs,
      ended: (outcome) => meters.signInEnded(outcome),
    }),
    revalidate: async (options = {}) =>
      directory && (await revalidate(database, { directory, rules, ...options })),
    sweep: async () =>
      await sweep({
        database,
        blobs,
        uploads,
        blobUploads,
        trash,
        graceHours: config.storage.graceHours,
      }),
    recount: async (repairBy) => await recount(database, { repairBy }),
    health,
    close: async () => {
      await builder.queue.stop()
      await Promise.all([thread.close(), certificates.close(), imageChecks.close(), scrub.close()])
      await downloads.close()
      await database.close()
      await options.leave()
    },
  }
}
