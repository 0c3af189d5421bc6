import { randomBytes, randomUUID } from 'node:crypto'

/** 24 hex digits: accounts, tokens, builds. */
export function newId(): string {
  return randomBytes(12).toString('hex')
}

/** 32 hex digits. */
export function newUploadId(): string {
  return randomBytes(16).toString('hex')
}

export function newStoreId(): string {
  return randomUUID()
}
