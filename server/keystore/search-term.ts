/** What people and programs put into `search` (protocol.md 7.2). Pure. */

export type HexTerm =
  | { readonly kind: 'fingerprint'; readonly fingerprint: string }
  /** 16 digits; `short` when it was written with 8 or fewer, which may mean the last 32 bits. */
  | { readonly kind: 'key-id'; readonly keyId: string; readonly short: string | undefined }

export type SearchTerm =
  | HexTerm
  | { readonly kind: 'words'; readonly words: string; readonly hex: string | undefined }

/**
 * With 0x it is hex: a fingerprint, or a key ID whose leading zeros may be missing, because clients
 * print it as a number. Without, it is words; those that look like hex are tried as that as well.
 */
export function parseSearch(text: string): SearchTerm {
  const trimmed = text.trim()
  const hex = /^0x([0-9a-f]{1,64})$/i.exec(trimmed)?.[1]?.toUpperCase()
  if (hex !== undefined) return fromHex(hex)
  const looksHex = /^(?:[0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{64})$/i.test(trimmed)
  return { kind: 'words', words: trimmed, hex: looksHex ? trimmed.toUpperCase() : undefined }
}

export function fromHex(hex: string): HexTerm {
  if (hex.length > 16) return { kind: 'fingerprint', fingerprint: hex }
  const keyId = hex.padStart(16, '0')
  return { kind: 'key-id', keyId, short: hex.length <= 8 ? hex.padStart(8, '0') : undefined }
}
