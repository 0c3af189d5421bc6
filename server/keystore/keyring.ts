/**
 * The site's keys as Apptainer and SingularityCE read them on every host, without the keystore: the
 * global keyring, by which `verify` says GLOBAL, and the execution control list, by which images run
 * only where one of the listed keys has signed them. Their source says what is in them: sypgp reads
 * binary certificates one after the other, syecl a TOML file. Pure, and the same for the same keys.
 */
import type { KeyRow } from './key-rows.ts'
import { stateOf } from './key-state.ts'

export interface SiteKeyring {
  /** Of `global-pgp-public`. */
  readonly keyring: Buffer
  readonly keysInKeyring: readonly KeyRow[]
  /** Of `ecl.toml`. */
  readonly controlList: string
  /** Images run that one of these has signed. */
  readonly keysAllowed: readonly KeyRow[]
}

/**
 * The keyring has what is needed to look at old signatures: retired, expired and revoked keys too,
 * which clients then name as such. Left out are tombstones, and keys of version 6: a signature in an
 * image names its key by 40 digits, and clients refuse a control list with more.
 */
export function siteKeyring(keys: readonly KeyRow[], now = new Date()): SiteKeyring {
  const keysInKeyring = keys
    .filter((key) => key.version === 4 && stateOf(key, now) !== 'tombstoned')
    .sort((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1))
  const keysAllowed = keysInKeyring.filter((key) => stateOf(key, now) === 'live')
  return {
    keyring: Buffer.concat(keysInKeyring.map(({ bytes }) => bytes)),
    keysInKeyring,
    controlList: controlList(keysAllowed),
    keysAllowed,
  }
}

/** One group of keys, any of which is enough, for images in all places. */
function controlList(keys: readonly KeyRow[]): string {
  const fingerprints = keys.map(
    ({ fingerprint, ownerName }) => `  "${fingerprint}", # ${ownerName}`,
  )
  return [
    '# Written by "berthctl keyring export": changes are lost with the next one.',
    '# Images run only where one of these keys has signed them.',
    'activated = true',
    '',
    '[[execgroup]]',
    'tagname = "berth"',
    'mode = "whitelist"',
    '# Wherever an image is.',
    'dirpath = ""',
    ...(fingerprints.length === 0 ? ['keyfp = []'] : ['keyfp = [', ...fingerprints, ']']),
    '',
  ].join('\n')
}
