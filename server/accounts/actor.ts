/** Who makes a request, as far as the rules need to know. */
export type Actor = Anonymous | AccountActor

interface Anonymous {
  readonly kind: 'anonymous'
  /** A credential was sent but is not live; the message for whoever needed one says so. */
  readonly rejected: boolean
  readonly address: string
}

export interface AccountActor {
  readonly kind: 'account'
  /** 24 hex digits. */
  readonly accountId: string
  readonly name: string
  readonly isAdmin: boolean
  /** The access token used; undefined for a password or a command on the host. */
  readonly tokenId: string | undefined
  /** IP address, or `local` for a command on the host. */
  readonly address: string
}
