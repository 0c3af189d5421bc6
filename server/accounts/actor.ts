/** Who makes a request, as far as the rules need to know. */
export type Actor = Anonymous | AccountActor

interface Anonymous {
  readonly kind: 'anonymous'
  /** A credential was sent but is not live; the message for whoever needed one says so. */
  readonly rejected: boolean
  readonly address: string
}

/** `pull` reads; `build` reads and hands in builds; `all` does what the account may do. */
export type TokenScope = 'all' | 'pull' | 'build'

export interface AccountActor {
  readonly kind: 'account'
  /** 24 hex digits. */
  readonly accountId: string
  readonly name: string
  /** Identifiers of the account and of its groups: what owners and readers are compared with. */
  readonly principals: readonly string[]
  readonly isAdmin: boolean
  /** What the credential is good for; a password and a command on the host are for everything. */
  readonly scope: TokenScope
  /** The access token used; undefined for a password or a command on the host. */
  readonly tokenId: string | undefined
  /** When that token ends. */
  readonly tokenExpiresAt: Date | undefined
  /** IP address, or `local` for a command on the host. */
  readonly address: string
}
