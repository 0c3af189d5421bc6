/**
 * Where a site keeps its people: the contract of an LDAP directory or a portal, as signing in and
 * re-validation use it. The adapters are in server/directory/.
 */

/** What the directory says of one person. */
export interface DirectoryEntry {
  /**
   * The immutable identifier (entryUUID, objectGUID, ipaUniqueID), as text: a login name that is
   * given to somebody else later does not inherit what belonged to the first.
   */
  readonly id: string
  /** The directory's canonical login name, lower-cased where the site says so. */
  readonly name: string
  readonly email: string
  readonly fullName: string
  /** Names of the groups that the person belongs to, as far as the configuration asks for them. */
  readonly groups: readonly string[]
}

/** Why somebody was not let in. It goes into the audit log; the person is not told. */
export type RefusalReason =
  | 'unknown' // no entry
  | 'ambiguous' // more than one entry
  | 'password'
  | 'disabled'
  | 'locked'
  | 'expired' // the account, not the password
  | 'malformed' // the entry lacks an attribute that Berth needs, or its name is none that Berth can use

export type DirectoryAnswer =
  | { readonly outcome: 'accepted'; readonly entry: DirectoryEntry }
  /** The password is right but its time is over: this one may be said to the person. */
  | { readonly outcome: 'password-expired'; readonly name: string }
  | { readonly outcome: 'refused'; readonly reason: RefusalReason; readonly detail?: string }

/** What re-validation learns of one account. */
export type Standing =
  | { readonly state: 'present'; readonly entry: DirectoryEntry }
  | { readonly state: 'gone' }
  | { readonly state: 'barred'; readonly reason: 'disabled' | 'locked' | 'expired' }

export interface Directory {
  readonly provider: 'ldap' | 'portal'
  /**
   * Checks a name and a password. Neither is empty and the name has the shape of a login name; that
   * was checked before. `admit` is called once, with the canonical name where the directory can say
   * it before it sees the password and else with the name as typed, and before the password is sent
   * anywhere: it throws when too many attempts failed. Takes as long for nobody as for somebody.
   * Throws Failure('unavailable') when no server answers in time; never refuses for that reason.
   */
  signIn(
    name: string,
    password: string,
    admit: (canonical: string) => Promise<void>,
  ): Promise<DirectoryAnswer>
  /**
   * The present standing of people by their immutable identifiers, without a password; absent where
   * the source cannot be asked (a portal; direct bind without a service account). The reply has an
   * answer for each identifier. Throws Failure('unavailable') rather than answer in part.
   */
  readonly standing?: (ids: readonly string[]) => Promise<ReadonlyMap<string, Standing>>
}
