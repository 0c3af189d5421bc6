/**
 * The keystore's verbs: who may push which key, who finds which, what happens to one that is no
 * longer to be used. Certificates are read and merged on another thread (certificate-reader.ts), and
 * hold only what their key has signed.
 */
import type { AccountActor, Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAdministrator, requireFullAccount } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { denied, Failure, invalid, notFound, Throttled } from '../failure.ts'
import type { Certificate, ReadsCertificates } from './certificate.ts'
import {
  countKeys,
  findKey,
  insertKey,
  keysByFingerprint,
  keysById,
  keysByIdentity,
  keysByShortId,
  keysByWords,
  keysOfOwner,
  keysOfSite,
  lockKey,
  setRetired,
  setTombstone,
  updateKey,
} from './key-rows.ts'
import type { KeyPage, KeyRow } from './key-rows.ts'
import { stateOf } from './key-state.ts'
import { isNamed, namesIn } from './ownership.ts'
import type { Person } from './ownership.ts'
import { fromHex, parseSearch } from './search-term.ts'
import type { HexTerm } from './search-term.ts'

export interface KeystoreOptions {
  /** Whether somebody without a token may bring news of a key that is known (gpg --send-keys). */
  readonly anonymousUpdates: boolean
  /** Called once a certificate is there, is another, or is gone. */
  readonly changed: (fingerprint: string) => void
}

export interface PushResult {
  readonly fingerprint: string
  readonly outcome: 'added' | 'updated' | 'unchanged'
}

const maxKeys = 32
const pushesPerMinute = 10
/** Shorter words are in too many user IDs. */
const minWords = 3

export class Keystore {
  readonly #database: Database
  readonly #reader: ReadsCertificates
  readonly #options: KeystoreOptions

  constructor(database: Database, reader: ReadsCertificates, options: KeystoreOptions) {
    this.#database = database
    this.#reader = reader
    this.#options = options
  }

  /** Adds a key of the caller, or brings up to date one that is there. */
  async push(actor: Actor, block: string | Buffer): Promise<PushResult> {
    const account = actor.kind === 'anonymous' ? undefined : requireFullAccount(actor)
    if (account === undefined && !this.#options.anonymousUpdates) throw signInFirst(actor)
    if (account) await this.#requirePace(account)
    const certificate = await this.#reader.read(block)
    const pushed = await this.#database.transaction(async (tx) => {
      const known = await lockKey(tx, certificate.fingerprint)
      if (known?.tombstonedAt) {
        throw denied('key', 'The administrators have taken this key out: it is not accepted.')
      }
      const result =
        known === undefined
          ? await this.#add(tx, actor, account, certificate)
          : await this.#update(tx, known, certificate)
      if (result.outcome !== 'unchanged') {
        const details = { outcome: result.outcome }
        await audit(tx, actor, { action: 'key.push', target: result.fingerprint, details })
      }
      return result
    })
    if (pushed.outcome !== 'unchanged') this.#options.changed(pushed.fingerprint)
    return pushed
  }

  async #add(
    tx: Db,
    actor: Actor,
    account: AccountActor | undefined,
    certificate: Certificate,
  ): Promise<PushResult> {
    if (account === undefined) throw signInFirst(actor)
    const { accountId, name } = account
    const owner = await requireOwn(tx, account, certificate)
    if ((await countKeys(tx, accountId)) >= maxKeys) {
      throw new Failure('conflict', 'key', `You have ${maxKeys} keys here, which is the limit.`)
    }
    await insertKey(tx, certificate, { id: accountId, name: owner.name || name })
    return { fingerprint: certificate.fingerprint, outcome: 'added' }
  }

  /** Anybody may bring what the key itself has signed: that is all that a certificate holds here. */
  async #update(tx: Db, known: KeyRow, incoming: Certificate): Promise<PushResult> {
    const { fingerprint, ownerId } = known
    const merged = await this.#reader.merge(known.bytes, incoming.bytes)
    if (merged.bytes.equals(known.bytes)) return { fingerprint, outcome: 'unchanged' }
    const owner = ownerId === null ? undefined : await findPerson(tx, ownerId)
    await requireNobodyElse(tx, owner, merged)
    await updateKey(tx, merged)
    return { fingerprint, outcome: 'updated' }
  }

  /** What `search` finds; words have at least three characters. */
  async search(text: string, options: KeyPage & { readonly exact: boolean }): Promise<KeyRow[]> {
    const term = parseSearch(text)
    if (term.kind !== 'words') return await this.#byHex(term)
    const { words, hex } = term
    if (words.length < minWords) {
      throw invalid('key', `Search for at least ${minWords} characters.`)
    }
    const found = options.exact
      ? await this.#exactly(words, options)
      : await keysByWords(this.#database, words, options)
    if (found.length > 0 || hex === undefined) return found
    return await this.#byHex(fromHex(hex))
  }

  /** The one key for a request that wants one: of several by the same name the newest that is good. */
  async get(text: string): Promise<KeyRow> {
    const page = { after: '', limit: 100 }
    const found = await this.search(text, { ...page, exact: true })
    const isByName = parseSearch(text).kind === 'words'
    const offered = isByName ? found.filter(isLive) : found
    const [key, ...others] = offered.sort((a, b) => Number(b.createdAt) - Number(a.createdAt))
    if (key === undefined || (others.length > 0 && !isByName)) throw noSuchKey()
    return key
  }

  /** The keys of an identity (a mail address, or a whole user ID) that are offered for new work. */
  async ofIdentity(identity: string): Promise<KeyRow[]> {
    const found = await keysByIdentity(this.#database, identity, { after: '', limit: 100 })
    return found.filter(isLive)
  }

  async armor(key: KeyRow): Promise<string> {
    return await this.#reader.armor(key.bytes)
  }

  async listOf(ownerId: string | null): Promise<KeyRow[]> {
    return await keysOfOwner(this.#database, ownerId)
  }

  /** For administrators: all keys there are or were, or those of one owner. */
  async listAll(actor: Actor, owner?: string): Promise<KeyRow[]> {
    requireAdministrator(actor)
    return await keysOfSite(this.#database, owner)
  }

  /** For administrators: a key by the fingerprint of its primary key, tombstones too. */
  async find(actor: Actor, fingerprint: string): Promise<KeyRow> {
    requireAdministrator(actor)
    const key = await findKey(this.#database, fingerprint)
    if (key === undefined) throw noSuchKey()
    return key
  }

  /** Marks a key as one for old signatures only, or takes that back. */
  async setRetired(actor: Actor, fingerprint: string, retired: boolean): Promise<KeyRow> {
    const account = requireFullAccount(actor)
    return await this.#database.transaction(async (tx) => {
      const key = await lockKey(tx, fingerprint)
      if (key === undefined || key.tombstonedAt !== null) throw noSuchKey()
      if (key.ownerId !== account.accountId && !account.isAdmin) {
        throw denied('key', `This key belongs to ${key.ownerName}.`)
      }
      await setRetired(tx, fingerprint, retired)
      const action = retired ? 'key.retire' : 'key.restore'
      await audit(tx, actor, { action, target: fingerprint })
      return (await lockKey(tx, fingerprint)) ?? key
    })
  }

  /** For what must not be there at all. Images that it has signed show an unknown key from now on. */
  async tombstone(actor: Actor, fingerprint: string, reason: string): Promise<void> {
    requireAdministrator(actor)
    await this.#database.transaction(async (tx) => {
      const key = await lockKey(tx, fingerprint)
      if (key === undefined || key.tombstonedAt !== null) throw noSuchKey()
      await setTombstone(tx, fingerprint)
      await audit(tx, actor, { action: 'key.tombstone', target: fingerprint, details: { reason } })
    })
    this.#options.changed(fingerprint)
  }

  async #byHex(term: HexTerm): Promise<KeyRow[]> {
    if (term.kind === 'fingerprint') {
      return await keysByFingerprint(this.#database, term.fingerprint)
    }
    const found = await keysById(this.#database, term.keyId)
    if (found.length > 0 || term.short === undefined) return found
    const short = await keysByShortId(this.#database, term.short)
    return short.length === 1 ? short : []
  }

  async #exactly(identity: string, page: KeyPage): Promise<KeyRow[]> {
    const found = await keysByIdentity(this.#database, identity, page)
    // gpg sends the plus of an address as it is, which a query turns into a blank.
    if (found.length > 0 || !/^\S+ \S+@\S+$/.test(identity)) return found
    return await keysByIdentity(this.#database, identity.replaceAll(' ', '+'), page)
  }

  async #requirePace(account: AccountActor): Promise<void> {
    const [row] = await this.#database.query<{ recent: number }>(sql`
      select count(*) as "recent" from audit
      where account_id = ${account.accountId} and action = 'key.push'
        and at > now() - interval '1 minute'`)
    if ((row?.recent ?? 0) < pushesPerMinute) return
    throw new Throttled('key', 'Too many keys in one minute: go on in a moment.', 60)
  }
}

/** Whether it may be offered for new work. */
function isLive(key: KeyRow): boolean {
  return stateOf(key) === 'live'
}

async function requireOwn(
  tx: Db,
  account: AccountActor,
  certificate: Certificate,
): Promise<Person> {
  const person = (await findPerson(tx, account.accountId)) ?? { name: account.name, email: '' }
  const live = certificate.userIds.filter(({ revoked }) => !revoked)
  if (!live.some(({ text }) => isNamed(text, person))) {
    const mail = person.email === '' ? '' : ` or your address <${person.email}>`
    throw invalid(
      'key',
      `No user ID of this key names you: put your account name "${person.name}"${mail} into one, for example "${person.name} (work) <${person.email || person.name}>".`,
    )
  }
  await requireNobodyElse(tx, person, certificate)
  return person
}

/** A key that carries somebody else's name would be found under it. */
async function requireNobodyElse(
  tx: Db,
  owner: Person | undefined,
  certificate: Certificate,
): Promise<void> {
  const live = certificate.userIds.filter(({ revoked }) => !revoked)
  const foreign = live.filter(({ text }) => owner === undefined || !isNamed(text, owner))
  const names = foreign.flatMap(({ text }) => Object.values(namesIn(text)))
  const [other] = await tx.query<{ name: string }>(sql`
    select name from accounts
    where (name = any(${names}) or (email <> '' and lower(email) = any(${names})))
      and name <> ${owner?.name ?? ''} limit 1`)
  if (other === undefined) return
  throw denied('key', `A user ID of this key names ${other.name}, whose key it is not.`)
}

async function findPerson(tx: Db, accountId: string): Promise<Person | undefined> {
  const [row] = await tx.query<Person>(
    sql`select name, email from accounts where id = ${accountId}`,
  )
  return row
}

function signInFirst(actor: Actor): Failure {
  return new Failure(
    'unauthenticated',
    'key',
    actor.kind === 'anonymous' && actor.rejected
      ? 'The access token is not valid any more: get a new one with get_singularity_token and sign in with it (remote login).'
      : 'A key is published with an access token: use singularity key push after remote login. gpg cannot send a token.',
  )
}

function noSuchKey(): Failure {
  return notFound('key', 'There is no such key here.')
}
