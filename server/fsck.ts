/** The check of everything: rows against rows, rows against files, files against rows. */
import { join } from 'node:path'

import type { AccountActor } from './accounts/actor.ts'
import { audit } from './accounts/audit.ts'
import { listBuildFileProblems } from './builds/file-check.ts'
import { forgetBuildFiles } from './builds/inventory.ts'
import type { BlobStore } from './content/blob-store.ts'
import { recount } from './content/recount.ts'
import { listRowProblems, reprieve } from './content/row-checks.ts'
import { listStoreProblems, repairBlob } from './content/store-check.ts'
import type { StoreCheckOptions } from './content/store-check.ts'
import type { Database } from './database.ts'

export interface Finding {
  readonly kind: string
  readonly subject: string
  readonly problem: string
  /** `repaired` now; `repairable` by another run; else people have to do something. */
  readonly state: 'repaired' | 'repairable' | 'open'
}

export interface FsckParts {
  readonly database: Database
  readonly blobs: BlobStore
  readonly dataDir: string
}

export interface FsckOptions extends StoreCheckOptions {
  /** Mends what can be mended without losing anything that is not lost already, as this person. */
  readonly repairBy: AccountActor | undefined
}

/** Empty: all is well. */
export async function fsck(parts: FsckParts, options: FsckOptions): Promise<readonly Finding[]> {
  const { database, blobs, dataDir } = parts
  const { repairBy } = options
  const found: Finding[] = []
  const add = async (
    { kind, subject, problem }: Omit<Finding, 'state'>,
    repair?: () => Promise<boolean>,
  ): Promise<void> => {
    const isDone = repairBy !== undefined && repair !== undefined && (await repair())
    const state = isDone ? 'repaired' : repair === undefined ? 'open' : 'repairable'
    found.push({ kind, subject, problem, state })
    if (!isDone) return
    const details = { kind, problem }
    await audit(database, repairBy, { action: 'fsck.repair', target: subject, details })
  }
  for (const problem of await listStoreProblems(database, blobs, options)) {
    const repair = async (): Promise<boolean> => await repairBlob(database, blobs, problem)
    await add(problem, problem.isRepairable ? repair : undefined)
  }
  for (const problem of await listRowProblems(database)) {
    const repair = async (): Promise<boolean> => {
      await reprieve(database, problem.subject)
      return true
    }
    await add(problem, problem.kind === 'condemned' ? repair : undefined)
  }
  const { drifted, repaired } = await recount(database, { repairBy })
  for (const drift of drifted) {
    const { entity, usedBytes, reservedBytes, countedUsedBytes, countedReservedBytes } = drift
    const problem = `the ledger says ${usedBytes} bytes used and ${reservedBytes} reserved, and it is ${countedUsedBytes} and ${countedReservedBytes}`
    const state = repaired ? 'repaired' : 'repairable'
    found.push({ kind: 'ledger', subject: entity, problem, state })
  }
  for (const problem of await listBuildFileProblems(database, join(dataDir, 'builds'))) {
    await add(problem, async () => {
      const ids = [problem.subject]
      const isOutput = problem.kind === 'build-output'
      const gone = { outputs: isOutput ? ids : [], contexts: isOutput ? [] : ids }
      await database.transaction(async (tx) => await forgetBuildFiles(tx, gone))
      return true
    })
  }
  return found
}
