/**
 * The keystore's verbs: who may push which key, who finds which, what happens to one that is no
 * longer to be used. Certificates are read and merged on another thread (certificate-reader.ts), and
 * hold only what their key has signed.
 */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAdministrator, requireFullAccount } from '../accounts/permissions.ts'
import type { Database, Db } from '../database.ts'
import { denied, Failure, invalid, notFound } from '../failure.ts'
import type { Certificate, ReadsCertificates } from './certificate.ts'
import { findPerson, peopleNamed, requireNobodyElse, requireOwn } from './key-owners.ts'
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
import { namesIn } from './ownership.ts'
import { PushPace } from './push-pace.ts'
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
const maxAttempts = 4
/** Shorter words are in too many user IDs. */
const minWords = 3

export class Keystore {
  readonly #database: Database
  readonly #reader: ReadsCertificates
  readonly #options: KeystoreOptions
  readonly #pace = new PushPace()

  constructor(database: Database, reader: ReadsCertificates, options: KeystoreOptions) {
    this.#database = database
    this.#reader = reader
    this.#options = options
  }

  /** Adds a key of the caller, or brings up to date one that is there. */
  async push(actor: Actor, block: string | Buffer): Promise<PushResult> {
    const account = actor.kind === 'anonymous' ? undefined : requireFullAccount(actor)
    if (account === undefined && !this.#options.anonymousUpdates) throw signInFirst(actor)
    this.#pace.require(account?.accountId ?? actor.address)
    const incoming = await this.#reader.read(block)
    // What takes long is done without a transaction, and done again if the key has changed meanwhile.
    for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
      const seen = await findKey(this.#database, incoming.fingerprint)
      const certificate =
        seen === undefined || seen.tombstonedAt !== null
          ? incoming
          : await this.#reader.merge(seen.bytes, incoming.bytes)
      const result = await this.#database.transaction(
        async (tx) => await this.#store(tx, actor, certificate, seen),
      )
      if (result === undefined) continue
      if (result.outcome !== 'unchanged') this.#options.changed(result.fingerprint)
      return result
    }
    throw new Failure('conflict', 'key', 'Others are changing this key: try again in a moment.')
  }

  /** Undefined where the key is not any more as it was seen. */
  async #store(
    tx: Db,
    actor: Actor,
    certificate: Certificate,
    seen: KeyRow | undefined,
  ): Promise<PushResult | undefined> {
    const { fingerprint } = certificate
    const known = await lockKey(tx, fingerprint)
    if (known?.tombstonedAt) {
      throw denied('key', 'The administrators have taken this key out: it is not accepted.')
    }
    if (known !== undefined && seen?.bytes.equals(known.bytes) !== true) return undefined
    if (known?.bytes.equals(certificate.bytes) === true)
      return { fingerprint, outcome: 'unchanged' }
    const outcome = known === undefined ? 'added' : 'updated'
    if (known === undefined) {
      if (!(await add(tx, actor, certificate))) return undefined
    } else {
      // Anybody may bring what the key itself has signed: that is all that a certificate holds here.
      const owner = known.ownerId === null ? undefined : await findPerson(tx, known.ownerId)
      await requireNobodyElse(tx, owner, certificate)
      await updateKey(tx, certificate)
    }
    await audit(tx, actor, { action: 'key.push', target: fingerprint, details: { outcome } })
    return { fingerprint, outcome }
  }

  /** What `search` finds; words have at least three characters. */
  async search(text: string, options: KeyPage & { readonly exact: boolean }): Promise<KeyRow[]> {
    const term = parseSearch(text)
    if (term.kind !== 'words') return after(await this.#byHex(term), options)
    const { words, hex } = term
    requireEnough(words)
    const found =
      options.exact || (await this.#isAddress(words))
        ? await this.#exactly(words, options)
        : await keysByWords(this.#database, words, options)
    if (found.length > 0 || hex === undefined) return found
    return after(await this.#byHex(fromHex(hex)), options)
  }

  /**
   * The one key for a request that wants one: by its number, or by a user ID or a mail address, of
   * several the newest that is good, those of the person who has that name or address before others.
   */
  async get(text: string): Promise<KeyRow> {
    const term = parseSearch(text)
    if (term.kind !== 'words') return onlyOne(await this.#byHex(term))
    requireEnough(term.words)
    const named = (await this.#exactly(term.words, { after: '', limit: 100 })).filter(isLive)
    const own = await this.#ownersOf(term.words, named)
    const [newest] = (own.length > 0 ? own : named).toSorted(
      (one, other) => Number(other.createdAt) - Number(one.createdAt),
    )
    if (newest !== undefined) return newest
    return onlyOne(term.hex === undefined ? [] : await this.#byHex(fromHex(term.hex)))
  }

  /** The keys of an identity (a mail address, or a whole user ID) that are offered for new work. */
  async ofIdentity(identity: string): Promise<KeyRow[]> {
    const found = await keysByIdentity(this.#database, identity, { after: '', limit: 100 })
    return found.filter(isLive)
  }

  /** Of these those alone that the site vouches for: their owner has this name or address here. */
  async canonicalOf(identity: string): Promise<KeyRow[]> {
    return await this.#ownersOf(identity, await this.ofIdentity(identity))
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

  /** An address that somebody has stands for itself, not for those that end in the same way. */
  async #isAddress(words: string): Promise<boolean> {
    if (!/^\S+@\S+$/.test(words)) return false
    return (await keysByIdentity(this.#database, words, { after: '', limit: 1 })).length > 0
  }

  async #exactly(identity: string, page: KeyPage): Promise<KeyRow[]> {
    const found = await keysByIdentity(this.#database, identity, page)
    // gpg sends the plus of an address as it is, which a query turns into a blank.
    if (found.length > 0 || !/^\S+ \S+@\S+$/.test(identity)) return found
    return await keysByIdentity(this.#database, identity.replaceAll(' ', '+'), page)
  }

  async #ownersOf(identity: string, keys: readonly KeyRow[]): Promise<KeyRow[]> {
    const names = [identity.toLowerCase(), ...Object.values(namesIn(identity))]
    const owners = await peopleNamed(this.#database, names)
    return keys.filter(({ ownerId }) => ownerId !== null && owners.has(ownerId))
  }
}

/** Whether it may be offered for new work. */
function isLive(key: KeyRow): boolean {
  return stateOf(key) === 'live'
}

/** False where somebody else has added it at the same moment. */
async function add(tx: Db, actor: Actor, certificate: Certificate): Promise<boolean> {
  if (actor.kind === 'anonymous') throw signInFirst(actor)
  const owner = await requireOwn(tx, actor, certificate)
  if ((await countKeys(tx, actor.accountId)) >= maxKeys) {
    throw new Failure(
      'conflict',
      'key',
      `You have ${maxKeys} keys here, which is the limit: use one of them (list them with GET /api/v1/keys).`,
    )
  }
  return await insertKey(tx, certificate, { id: actor.accountId, name: owner.name })
}

function requireEnough(words: string): void {
  if (words.length >= minWords) return
  throw invalid('key', `Search for at least ${minWords} characters.`)
}

/** Never one of several that share a short number. */
function onlyOne(keys: readonly KeyRow[]): KeyRow {
  const [key, ...others] = keys
  if (key === undefined || others.length > 0) throw noSuchKey()
  return key
}

function after(keys: readonly KeyRow[], { after, limit }: KeyPage): KeyRow[] {
  return keys.filter(({ fingerprint }) => fingerprint > after).slice(0, limit)
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
