import { parseArgs } from 'node:util'

import { findAccount, hostOperator } from '../../server/accounts/accounts.ts'
import type { Appliance } from '../../server/appliance.ts'
import type { ImageRow } from '../../server/content/images.ts'
import { imageId } from '../../server/content/names.ts'
import type { KeyRow } from '../../server/keystore/key-rows.ts'
import { stateOf } from '../../server/keystore/key-state.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { printable } from '../printable.ts'
import { askYesOrNo } from '../question.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl key: the signing keys of the keystore

  berthctl key list [NAME] [--json]   all keys, or those of an account
  berthctl key show FINGERPRINT [--json]
                                      one key, and the images that it has signed
  berthctl key retire FINGERPRINT     for old signatures only; clients show it as disabled
  berthctl key restore FINGERPRINT    takes that back
  berthctl key tombstone FINGERPRINT --reason TEXT [--yes]
                                      takes a key out for good

A key is live, expired, retired, revoked (its owner published that) or tombstoned. Old images stay
verifiable with a retired key. A tombstone is for what must not be handed out at all: the key and the
names in it go, it is never taken again, and images that it signed show an unknown key.
`

const verbs: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  list,
  show,
  retire: async (args) => await setRetired(args, true),
  restore: async (args) => await setRetired(args, false),
  tombstone,
}

/** Newest first; the count beside them is that of all. */
const maxImages = 1000

export const keyCommand: Command = {
  help,
  run: async ([verb = '', ...args]) => {
    const run = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (run !== undefined) return await run(args)
    throw new UsageError(
      `Say what to do: ${Object.keys(verbs).join(', ')} (see berthctl key --help).`,
    )
  },
}

async function list(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const [name, ...rest] = positionals
  if (rest.length > 0) throw new UsageError('Give one account name, or none for all keys.')
  await withAppliance(configOfServer(), async ({ database, keystore, reports }) => {
    const keys = await keystore.listAll(hostOperator, name)
    // Of an account that is gone the keys are still there.
    if (name !== undefined && keys.length === 0 && !(await findAccount(database, name))) {
      throw new CommandError(`There is no account "${name}".`)
    }
    const counts = await reports.imagesByKey(hostOperator)
    const shown = keys.map((key) => keyJson(key, counts.get(key.fingerprint) ?? 0))
    if (values.json === true) return print(shown)
    const head = ['Owner', 'Fingerprint', 'Algorithm', 'Bits', 'Created', 'Expires', 'State']
    const rows = shown.map((key) => [
      key.owner,
      key.fingerprint,
      key.algorithm,
      String(key.bits),
      key.createdAt.slice(0, 10),
      key.expiresAt?.slice(0, 10) ?? 'never',
      key.state,
      String(key.images),
      key.userIds.map(({ text }) => text).join(', '),
    ])
    process.stdout.write(table([[...head, 'Images', 'User IDs'], ...rows]))
  })
}

async function show(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const fingerprint = fingerprintOf(positionals)
  await withAppliance(configOfServer(), async (appliance) => {
    const { key, images } = await keyWithImages(appliance, fingerprint)
    const signed = await appliance.registry.listSignedBy(hostOperator, fingerprint, maxImages)
    const shown = keyJson(key, images)
    if (values.json === true) return print({ ...shown, signedImages: signed.map(imageJson) })
    const facts = [
      ['Fingerprint', shown.fingerprint],
      ['Owner', shown.owner],
      ['State', shown.state],
      ['Algorithm', `${shown.algorithm}, ${shown.bits} bits`],
      ['Created', shown.createdAt],
      ['Expires', shown.expiresAt ?? 'never'],
      ['Published', shown.pushedAt],
      ['Changed', shown.updatedAt],
      ...shown.userIds.map(({ text, revoked }) => [
        'User ID',
        revoked ? `${text} (revoked)` : text,
      ]),
      ['Images', String(images)],
    ]
    process.stdout.write(table(facts))
    if (signed.length === 0) return
    const rows = signed
      .map(imageJson)
      .map(({ image, tags, uploadedAt, state, reason }) => [
        image,
        tags.join(','),
        uploadedAt.slice(0, 10),
        state,
        reason ?? '',
      ])
    process.stdout.write(`\n${table([['Image', 'Tags', 'Pushed', 'State', 'Reason'], ...rows])}`)
    if (signed.length < images) process.stdout.write(`The newest ${signed.length} of ${images}.\n`)
  })
}

async function setRetired(args: string[], retired: boolean): Promise<void> {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} })
  const fingerprint = fingerprintOf(positionals)
  await withAppliance(configOfServer(), async ({ keystore }) => {
    const key = await keystore.setRetired(hostOperator, fingerprint, retired)
    const state = stateOf(key)
    const what = retired
      ? 'is retired: it is for old signatures only'
      : `is not retired any more${state === 'live' ? '' : `, but ${state}`}`
    process.stdout.write(`The key ${fingerprint} of ${key.ownerName} ${what}.\n`)
  })
}

async function tombstone(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { reason: { type: 'string' }, yes: { type: 'boolean' } },
  })
  const fingerprint = fingerprintOf(positionals)
  const reason = values.reason?.trim() ?? ''
  if (reason === '') throw new UsageError('Say why for the audit log: --reason TEXT.')
  await withAppliance(configOfServer(), async (appliance) => {
    const { key, images } = await keyWithImages(appliance, fingerprint)
    if (stateOf(key) === 'tombstoned')
      throw new CommandError('This key has been taken out already.')
    const consequence = `The key ${fingerprint} of ${key.ownerName} goes for good and is never taken again; ${countOf(images)} signed with it will show an unknown key.`
    if (values.yes !== true) {
      const answer = await askYesOrNo(`${printable(consequence)}\nTake it out?`)
      if (answer === undefined) {
        throw new CommandError(`${consequence} Add --yes to do it, or retire the key instead.`)
      }
      if (!answer) throw new CommandError('Nothing was changed.')
    }
    await appliance.keystore.tombstone(hostOperator, fingerprint, reason)
    process.stdout.write(
      `The key ${fingerprint} of ${key.ownerName} was taken out; ${countOf(images)} signed with it will show an unknown key within a minute or two.\n`,
    )
  })
}

async function keyWithImages(
  { keystore, reports }: Appliance,
  fingerprint: string,
): Promise<{ key: KeyRow; images: number }> {
  const key = await keystore.find(hostOperator, fingerprint)
  const counts = await reports.imagesByKey(hostOperator)
  return { key, images: counts.get(fingerprint) ?? 0 }
}

/** In whatever case, and with the blanks that gpg prints in it. */
function fingerprintOf(words: readonly string[]): string {
  const fingerprint = words.join('').replaceAll(/\s/g, '').replace(/^0x/i, '').toUpperCase()
  if (/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/.test(fingerprint)) return fingerprint
  throw new UsageError('Give the whole fingerprint of one key: 40 or 64 hex digits.')
}

interface KeyJson {
  readonly fingerprint: string
  readonly owner: string
  readonly state: string
  readonly algorithm: string
  readonly bits: number
  readonly createdAt: string
  readonly expiresAt: string | null
  readonly pushedAt: string
  readonly updatedAt: string
  readonly userIds: readonly { readonly text: string; readonly revoked: boolean }[]
  /** How many have a signature of it. */
  readonly images: number
}

function keyJson(key: KeyRow, images: number): KeyJson {
  return {
    fingerprint: key.fingerprint,
    owner: key.ownerName,
    state: stateOf(key),
    algorithm: algorithmNames[key.algorithm] ?? `algorithm ${key.algorithm}`,
    bits: key.bits,
    createdAt: key.createdAt.toISOString(),
    expiresAt: key.expiresAt?.toISOString() ?? null,
    pushedAt: key.pushedAt.toISOString(),
    updatedAt: key.updatedAt.toISOString(),
    userIds: key.userIds.map(({ text, revoked }) => ({ text, revoked })),
    images,
  }
}

/** RFC 9580, 9.1: those that the keystore takes. */
const algorithmNames: Readonly<Record<number, string>> = {
  1: 'RSA',
  3: 'RSA',
  19: 'ECDSA',
  22: 'EdDSA',
  27: 'Ed25519',
  28: 'Ed448',
}

function imageJson(row: ImageRow) {
  return {
    image: imageId(row.path, row.digest),
    tags: row.tags,
    uploadedAt: row.uploadedAt.toISOString(),
    state: row.signatureState,
    reason: row.signatureReason,
  }
}

function countOf(images: number): string {
  if (images === 0) return 'no image'
  return images === 1 ? 'one image' : `${images} images`
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
