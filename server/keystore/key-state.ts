/** What a key of the keystore may be used for. Pure. */
import type { KeyRow } from './key-rows.ts'

export type KeyState =
  | 'live'
  | 'expired'
  /** By its owner in the keystore: for old signatures only. */
  | 'retired'
  /** By a signature of the key itself. */
  | 'revoked'
  /** Taken out by an administrator. */
  | 'tombstoned'

/** The most serious of what is true of it. */
export function stateOf(key: KeyRow, now = new Date()): KeyState {
  if (key.tombstonedAt !== null) return 'tombstoned'
  if (key.revoked) return 'revoked'
  if (key.retiredAt !== null) return 'retired'
  return key.expiresAt !== null && key.expiresAt <= now ? 'expired' : 'live'
}
