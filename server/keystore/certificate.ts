/** What Berth knows of an OpenPGP certificate (a public key with its user IDs and subkeys). */

export interface UserId {
  /** As it is in the certificate, at most 256 bytes of UTF-8: `Alice (work) <alice@example.org>`. */
  readonly text: string
  /** Lower-case; undefined where the text names none. */
  readonly email: string | undefined
  readonly createdAt: Date
  readonly expiresAt: Date | undefined
  readonly revoked: boolean
}

export interface Certificate {
  /** Upper-case hex: 40 digits for version 4, 64 for version 6. */
  readonly fingerprint: string
  readonly version: 4 | 6
  /** OpenPGP public-key algorithm number (RFC 9580, 9.1). */
  readonly algorithm: number
  readonly bits: number
  readonly createdAt: Date
  readonly expiresAt: Date | undefined
  readonly revoked: boolean
  /** Fingerprints of all keys in it, the primary one first; upper-case hex. */
  readonly keyFingerprints: readonly string[]
  /** 64-bit key IDs of the same, upper-case hex of 16 digits. */
  readonly keyIds: readonly string[]
  readonly userIds: readonly UserId[]
  /** The binary form that is stored and handed out: only what the key itself has signed. At most 64 KiB. */
  readonly bytes: Buffer
}

/** What reads certificates (certificate-reader.ts): on another thread, in a bounded time. */
export interface ReadsCertificates {
  /** An armored or binary public key block; Failure `invalid` says what is wrong with it. */
  read(block: string | Buffer): Promise<Certificate>
  /** Everything that either has; a revocation is never lost. */
  merge(stored: Buffer, incoming: Buffer): Promise<Certificate>
  armor(bytes: Buffer): string | Promise<string>
}
