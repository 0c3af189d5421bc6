import type { z } from 'zod'

/** What a route of /api/v1 takes and gives, by the schemas that it validates with. */
export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'delete'
  /** Parameters in braces: /api/v1/tokens/{id}. */
  readonly path: string
  /** Says what a parameter of the path is, where its name does not. */
  readonly parameters?: Readonly<Record<string, string>>
  readonly summary: string
  /** What one of is needed: an account's name and password, or an access token. */
  readonly credentials: readonly ('password' | 'token')[]
  readonly query?: z.ZodObject
  readonly body?: z.ZodType
  /** Success; `data` is what the envelope holds. */
  readonly reply: { readonly status: number; readonly data: z.ZodType }
  /** The statuses of refusals, all of which have the same form. */
  readonly problems: readonly number[]
}
