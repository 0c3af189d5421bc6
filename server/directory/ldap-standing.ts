/** The present standing of people whom Berth knows, for re-validation: complete, or an error. */
import type { Standing } from '../accounts/directory.ts'
import { Failure } from '../failure.ts'
import type { Log } from '../log.ts'
import type { Connection } from './connection.ts'
import type { Entry } from './entry.ts'
import { byIds } from './filters.ts'
import type { LdapAccess } from './ldap-access.ts'
import { readId } from './person.ts'

/** Identifiers in one filter. Below every limit of a server on the size of its answers. */
const batchSize = 100
/** For all batches together: less than the time between two runs. */
const wholeMs = 240_000

export async function standingOf(
  access: LdapAccess,
  log: Log,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Standing>> {
  const standings = new Map<string, Standing>()
  if (ids.length === 0) return standings
  const endsAt = performance.now() + access.settings.timeoutMs
  try {
    const connection = await access.reach(endsAt, async (open) => await access.bindService(open))
    connection.endBy(performance.now() + wholeMs)
    try {
      for (let first = 0; first < ids.length; first += batchSize) {
        const batch = ids.slice(first, first + batchSize)
        for (const [id, entry] of await findAll(access, connection, batch)) {
          standings.set(id, await judge(access, connection, log, entry))
        }
      }
    } finally {
      connection.close()
    }
  } catch (error) {
    throw access.failureOf(error)
  }
  return standings
}

/** An entry, or undefined for nobody, for each identifier. */
async function findAll(
  access: LdapAccess,
  connection: Connection,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Entry | undefined>> {
  const { settings } = access
  const found = new Map<string, Entry | undefined>(ids.map((id) => [id, undefined]))
  const filter = byIds(settings, ids)
  if (filter === undefined) return found
  // No size limit and no pages: what does not fit comes back as an error, not as fewer entries.
  const base = settings.base ?? ''
  const { entries, references } = await access.searchPeople(connection, base, { filter })
  for (const entry of entries) {
    const id = readId(entry, settings)
    if (id === undefined || !found.has(id))
      throw partial(`${entry.dn} has no identifier to be read`)
    if (found.get(id) !== undefined) throw partial(`two entries have the identifier ${id}`)
    found.set(id, entry)
  }
  const elsewhere = references.filter((reference) => !isPartitionOfItsOwn(reference))
  const isMissing = [...found.values()].includes(undefined)
  if (isMissing && elsewhere.length > 0) {
    throw partial(`it refers to ${elsewhere[0]} for the rest: set base so that it does not`)
  }
  return found
}

async function judge(
  access: LdapAccess,
  connection: Connection,
  log: Log,
  entry: Entry | undefined,
): Promise<Standing> {
  if (entry === undefined) return { state: 'gone' }
  const { person, state } = access.examine(entry)
  if (state.barred !== undefined) return { state: 'barred', reason: state.barred.reason }
  if ('malformed' in person) {
    // Who could not sign in like this does not go on with a token either.
    log.warn({ 'directory.entry': entry.dn }, `an entry cannot be used: ${person.malformed}`)
    return { state: 'barred', reason: 'disabled' }
  }
  const groups = await access.groupNames(connection, entry)
  return { state: 'present', entry: { ...person, groups } }
}

/**
 * Active Directory refers every search from the domain's root to its partitions for DNS and for the
 * configuration, where no people are.
 */
function isPartitionOfItsOwn(reference: string): boolean {
  return /^ldaps?:\/\/[^/]*\/(?:DC=DomainDnsZones|DC=ForestDnsZones|CN=Configuration),/i.test(
    reference,
  )
}

function partial(why: string): Failure {
  return new Failure(
    'unavailable',
    'directory',
    `The directory did not answer for all accounts: ${why}.`,
  )
}
