/** Users, groups and roles as the consent service of the enterprise interface shows them. */
import type { Group, Person } from '../accounts/roster.ts'

interface UserJson {
  readonly id: string
  readonly organizationIDs: readonly string[]
  readonly username: string
  readonly provider: string
  readonly providerID: string
  readonly fullName: string
  readonly email: string
  readonly active: boolean
  readonly createdAt: string
  readonly deactivatedAt: string | undefined
  readonly groups: readonly string[]
  readonly roles: readonly string[]
  readonly allRoles: readonly string[]
  /** Without it the plugin crashes. */
  readonly quotas: {
    /** MiB; the plugin shows it as if it were KiB. */
    readonly maxLibrarySize: number
    /** Seconds. */
    readonly maxBuildTime: number
    readonly maxBuildTimeCumulative: number
  }
}

interface RoleJson {
  readonly id: string
  readonly organizationID: string
  readonly name: string
  readonly description: string
}

interface GroupJson extends RoleJson {
  readonly createdAt: string
  readonly roles: readonly string[]
}

const mib = 2 ** 20

/** The interface has one organisation, and no call that shows it. */
const organizationID = '000000000000000000000001'

/** Berth has one role: what its holders may do is not divided by service. */
export const administrator = {
  id: '000000000000000000000002',
  organizationID,
  name: 'admin',
  description: 'Administrates the site: sees and changes everything, and is audited',
} as const satisfies RoleJson

export function userJson(person: Person, quotaBytes: number): UserJson {
  const direct = person.isAdmin && person.provider === 'local'
  const endedAt = person.disabledAt ?? person.suspendedAt
  return {
    id: person.id,
    organizationIDs: [organizationID],
    username: person.name,
    provider: person.provider,
    providerID: person.directoryId ?? person.name,
    fullName: person.fullName,
    email: person.email,
    active: endedAt === null,
    createdAt: person.createdAt.toISOString(),
    deactivatedAt: endedAt?.toISOString(),
    groups: person.groups,
    roles: direct ? [administrator.name] : [],
    allRoles: person.isAdmin ? [administrator.name] : [],
    // Build times are not limited, and nothing is built yet.
    quotas: { maxLibrarySize: quotaBytes / mib, maxBuildTime: 0, maxBuildTimeCumulative: 0 },
  }
}

export function groupJson(group: Group): GroupJson {
  return {
    id: group.id,
    organizationID,
    name: group.name,
    description: '',
    createdAt: group.createdAt.toISOString(),
    roles: group.administrates ? [administrator.name] : [],
  }
}
