/**
 * The machine-readable index (protocol.md 7.3): an info line, then a pub line with seven fields for
 * each key and its uid lines. Pure.
 */
import type { KeyRow, UserIdRow } from './key-rows.ts'
import { stateOf } from './key-state.ts'

export function machineIndex(keys: readonly KeyRow[]): string {
  const lines = keys.flatMap((key) => [pubLine(key), ...key.userIds.map(uidLine)])
  return [`info:1:${keys.length}`, ...lines, ''].join('\n')
}

/** For people who ask with a browser or curl. */
export function humanIndex(keys: readonly KeyRow[]): string {
  if (keys.length === 0) return 'No keys found.\n'
  return keys.map(describe).join('\n')
}

function pubLine(key: KeyRow): string {
  const { fingerprint, algorithm, bits, createdAt, expiresAt } = key
  const fields = [algorithm, bits, seconds(createdAt), seconds(expiresAt), flagOf(key)]
  return `pub:${fingerprint}:${fields.join(':')}`
}

function uidLine(userId: UserIdRow): string {
  const { text, createdAt, expiresAt, revoked } = userId
  const expired = expiresAt !== null && expiresAt <= new Date()
  const flag = revoked ? 'r' : expired ? 'e' : ''
  return `uid:${escapeUserId(text)}:${seconds(createdAt)}:${seconds(expiresAt)}:${flag}`
}

/** One letter, the most serious: clients compare the whole field. A retired key shows as disabled. */
export function flagOf(key: KeyRow): '' | 'r' | 'd' | 'e' {
  return flags[stateOf(key)]
}

const flags = { live: '', expired: 'e', retired: 'd', revoked: 'r', tombstoned: 'r' } as const

/** Clients decode as a query or as percent escapes: what differs between those is escaped. */
export function escapeUserId(text: string): string {
  return [...Buffer.from(text, 'utf8')]
    .map((byte) => {
      const plain = byte >= 0x20 && byte < 0x7f && !'%:+'.includes(String.fromCharCode(byte))
      return plain
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
    })
    .join('')
}

function seconds(time: Date | null): string {
  return time === null ? '' : String(Math.floor(time.getTime() / 1000))
}

function describe(key: KeyRow): string {
  const state = stateOf(key)
  const until = key.expiresAt === null ? 'never' : key.expiresAt.toISOString().slice(0, 10)
  return [
    `${key.fingerprint}  ${state === 'live' ? 'valid' : state}`,
    ...key.userIds.map(({ text, revoked }) => `  ${text}${revoked ? '  (revoked)' : ''}`),
    `  of ${key.ownerName}, made ${key.createdAt.toISOString().slice(0, 10)}, ends ${until}`,
    '',
  ].join('\n')
}
