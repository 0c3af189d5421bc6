import { findAccount } from '../../server/accounts/accounts.ts'
import type { Appliance } from '../../server/appliance.ts'
import type { ImageRow } from '../../server/content/images.ts'
import { imageId } from '../../server/content/names.ts'
import type { KeyRow } from '../../server/keystore/key-rows.ts'
import { stateOf } from '../../server/keystore/key-state.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

/** gpg prints it in pieces. */
const fingerprintWords = {
  repeated: true,
  summary: 'all 40 or 64 digits; blanks between them do not matter',
} as const

/** Newest first; the count beside them is that of all. */
const maxImages = 1000

const list = verb({
  name: 'list',
  summary: 'all keys, or those of an account',
  arguments: { NAME: { optional: true, complete: 'account' } },
  options: { json: jsonOption },
  run: async ({ NAME: name }, { json }) => {
    await withAppliance(configOfServer(), async ({ database, keystore, reports }) => {
      const keys = await keystore.listAll(hostOperator, name)
      // Of an account that is gone the keys are still there.
      if (name !== undefined && keys.length === 0 && !(await findAccount(database, name))) {
        throw new CommandError(`There is no account "${name}".`)
      }
      const counts = await reports.imagesByKey(hostOperator)
      const shown = keys.map((key) => keyJson(key, counts.get(key.fingerprint) ?? 0))
      if (json) return printJson(shown)
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
  },
})

const show = verb({
  name: 'show',
  summary: 'one key, and the images that it has signed',
  arguments: { FINGERPRINT: fingerprintWords },
  options: { json: jsonOption },
  run: async ({ FINGERPRINT: words }, { json }) => {
    const fingerprint = fingerprintOf(words)
    await withAppliance(configOfServer(), async (appliance) => {
      const { key, images } = await keyWithImages(appliance, fingerprint)
      const signed = await appliance.registry.listSignedBy(hostOperator, fingerprint, maxImages)
      const shown = keyJson(key, images)
      if (json) return printJson({ ...shown, signedImages: signed.map(imageJson) })
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
      if (signed.length < images)
        process.stdout.write(`The newest ${signed.length} of ${images}.\n`)
    })
  },
})

const retire = verb({
  name: 'retire',
  summary: 'for old signatures only; clients show it as disabled',
  arguments: { FINGERPRINT: fingerprintWords },
  run: async ({ FINGERPRINT: words }) => await setRetired(words, true),
})

const restore = verb({
  name: 'restore',
  summary: 'takes that back',
  arguments: { FINGERPRINT: fingerprintWords },
  run: async ({ FINGERPRINT: words }) => await setRetired(words, false),
})

async function setRetired(words: readonly string[], retired: boolean): Promise<void> {
  const fingerprint = fingerprintOf(words)
  await withAppliance(configOfServer(), async ({ keystore }) => {
    const key = await keystore.setRetired(hostOperator, fingerprint, retired)
    const state = stateOf(key)
    const what = retired
      ? 'is retired: it is for old signatures only'
      : `is not retired any more${state === 'live' ? '' : `, but ${state}`}`
    process.stdout.write(`The key ${fingerprint} of ${key.ownerName} ${what}.\n`)
  })
}

const tombstone = verb({
  name: 'tombstone',
  summary: 'takes a key out for good',
  arguments: { FINGERPRINT: fingerprintWords },
  options: {
    reason: { type: 'string', value: 'TEXT', summary: 'why, for the audit log; needed' },
    yes: yesOption,
  },
  notes:
    'A tombstone is for what must not be handed out at all: the key and the names in it go, it is never taken again, and images that it signed show an unknown key.',
  run: async ({ FINGERPRINT: words }, { reason: text, yes }) => {
    const fingerprint = fingerprintOf(words)
    const reason = text?.trim() ?? ''
    if (reason === '') throw new UsageError('Say why for the audit log: --reason TEXT.')
    await withAppliance(configOfServer(), async (appliance) => {
      const { key, images } = await keyWithImages(appliance, fingerprint)
      if (stateOf(key) === 'tombstoned')
        throw new CommandError('This key has been taken out already.')
      const consequence = `The key ${fingerprint} of ${key.ownerName} goes for good and is never taken again; ${countOf(images)} signed with it will show an unknown key.`
      await requireYes(consequence, 'Take it out?', yes)
      await appliance.keystore.tombstone(hostOperator, fingerprint, reason)
      process.stdout.write(
        `The key ${fingerprint} of ${key.ownerName} was taken out; ${countOf(images)} signed with it will show an unknown key within a minute or two.\n`,
      )
    })
  },
})

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

export const keyCommand: Command = {
  name: 'key',
  summary: 'the signing keys of the keystore',
  verbs: [list, show, retire, restore, tombstone],
  notes:
    'A key is live, expired, retired, revoked (its owner published that) or tombstoned. Old images stay verifiable with a retired key.',
}
